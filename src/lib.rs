//! Roadbed
