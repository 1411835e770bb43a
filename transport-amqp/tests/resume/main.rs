//! Links that are resumed, on real sockets: the rows of the exactly-once crash table, in both directions, with the connection lost or the hub killed at
//! each of its points; links within their session; expiry; stealing.

mod egress;
mod foreign;
mod ingress;
mod links;
mod peer;
