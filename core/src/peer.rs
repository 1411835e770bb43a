use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;
use bytestring::ByteString;

use crate::Time;

/// What a connection says about who is at its other end, before that has said anything in a protocol. Whoever accepts connections fills it in, and servers pass it
/// to their [`Authenticator`](crate::Authenticator).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Where it comes from.
    pub address: Option<SocketAddr>,
    /// Whether nobody on the way can read or change what is said: TLS.
    pub secure: bool,
    /// The name of the server that it asked for (RFC 6066, section 3), as it said it.
    pub server_name: Option<ByteString>,
    /// The name in its certificate.
    pub name: Option<ByteString>,
    /// Its certificate and those that it sent with it, its own first, in DER. They were verified, and it has shown that it holds the key; empty: it has shown none.
    pub certificates: Vec<Bytes>,
    /// When its own certificate ends, by the time of day; `None`: it has shown none, or that is not known.
    pub certificate_until: Option<Time>,
}

impl Peer {
    /// A peer of which nothing but its address is known.
    pub fn at(address: SocketAddr) -> Self {
        Self { address: Some(address), ..Self::default() }
    }

    /// The certificate of the peer itself, in DER, if it has shown one.
    pub fn certificate(&self) -> Option<&Bytes> {
        self.certificates.first()
    }
}
