//! Benchmarks of Roadbed
