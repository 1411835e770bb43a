//! Over AMQP: each attack leaves the hub's memory and time bounded, others served, and is answered in the standard's own condition.

mod bytes;
mod floods;
mod wire;
