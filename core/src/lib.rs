//! The vocabulary of Roadbed: messages, promises, delivery state, endpoints and mapping traits
