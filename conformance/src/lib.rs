//! The laws that every Roadbed endpoint must keep
