//! The in-process endpoint of Roadbed: router, queues, retained values, transactions, over a store
