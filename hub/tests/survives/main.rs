//! What the hub has promised survives `kill -9`, in every protocol: the hub as a process, and peers that share no code with it.

#[path = "../hostile/amqp/wire.rs"]
#[allow(dead_code, reason = "a part of it is for attacks")]
mod wire;

mod device;
#[cfg(target_os = "linux")]
mod failing;
#[cfg(target_os = "linux")]
mod full;
mod links;
#[cfg(target_os = "linux")]
mod paged;
mod queues;
#[path = "../serving/mod.rs"]
mod serving;
mod sessions;
mod store;
mod support;
