//! Listening sockets.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use crate::error::{Failure, Result};

/// Opens a listening socket for a protocol.
///
/// # Errors
/// If the address cannot be had, with what to do about it.
pub(crate) fn bind(protocol: &str, address: SocketAddr, backlog: u32) -> Result<TcpListener> {
    let listener = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        #[cfg(unix)] // elsewhere it would take the port from another process
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(backlog)
    };
    listener().map_err(|error| explain(protocol, address, &error))
}

fn explain(protocol: &str, address: SocketAddr, error: &std::io::Error) -> Failure {
    let flag = if protocol == "ANY" { "listen".into() } else { protocol.to_ascii_lowercase() };
    let (ip, port) = (address.ip(), address.port());
    let failure = |what: &str| Failure::unavailable(format!("cannot listen for {protocol} on {address}: {what}"));
    match error.kind() {
        std::io::ErrorKind::AddrInUse => failure("another process listens there").help(format!(
            "`ss -ltnp 'sport = :{port}'` names it; `--{flag} {}` takes any free port",
            SocketAddr::new(ip, 0)
        )),
        std::io::ErrorKind::PermissionDenied => failure("the system does not allow it")
            .help(format!("ports from 1024 on are for everybody: `--{flag} ADDR`")),
        std::io::ErrorKind::AddrNotAvailable => failure("this machine has no such address")
            .help(format!("`ip address` lists them; `--{flag} 0.0.0.0:{port}` takes all")),
        _ => failure(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_says_who_to_ask_and_what_to_do() {
        let holder = TcpSocket::new_v4().unwrap();
        holder.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = holder.local_addr().unwrap();
        let _listener = holder.listen(1).unwrap();
        let failure = bind("MQTT", address, 1).unwrap_err();
        let text = failure.to_string();
        assert!(text.starts_with(&format!("cannot listen for MQTT on {address}: another process")), "{text}");
        assert!(text.contains("ss -ltnp") && text.contains("--mqtt 127.0.0.1:0"), "{text}");
        assert_eq!(failure.kind(), crate::Kind::Unavailable);
    }
}
