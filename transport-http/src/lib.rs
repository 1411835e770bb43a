//! HTTP/1.1 and HTTP/2 for Roadbed, server and client
