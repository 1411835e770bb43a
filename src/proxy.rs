//! Through an HTTP proxy (RFC 9110, section 9.3.6).

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roadbed_core::client::{Carrier, Connector, ServerUrl, tcp};
use roadbed_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Opens tunnels to one server.
pub(crate) struct Proxy {
    host: String,
    port: u16,
    request: String,
}

/// The longest answer of a proxy, in bytes.
const ANSWER_MAX: usize = 16 << 10;

impl Proxy {
    pub(crate) fn new(url: &str, host: &str, port: u16) -> Result<Self> {
        let wrong = |what: String| {
            let said = format!("the proxy: {what}; it is such as http://user:password@host:3128");
            Error::new(ErrorKind::Invalid, "read the URL").detail(said)
        };
        // As everybody takes it who reads the environment.
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let server = ServerUrl::new(&full).map_err(wrong)?;
        if server.scheme != "http" {
            return Err(wrong(format!("`{}` is not spoken to proxies", server.scheme)));
        }
        let (proxy, proxy_port) = server.host_and_port(3128).map_err(wrong)?;
        let named = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {named} HTTP/1.1\r\nHost: {named}\r\n");
        if let Some(login) = server.login().map_err(wrong)? {
            let secret = [login.user.as_bytes(), b":", &login.password.unwrap_or_default()].concat();
            request += &format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(secret));
        }
        Ok(Self { host: proxy, port: proxy_port, request: request + "\r\n" })
    }
}

#[async_trait::async_trait]
impl Connector for Proxy {
    async fn connect(&self) -> io::Result<Box<dyn Carrier>> {
        let mut stream = tcp(&self.host, self.port).await?;
        tunnel(&mut stream, &self.request).await?;
        Ok(Box::new(stream))
    }
}

/// Asks for the tunnel. Nothing of what comes after the answer is read.
async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> io::Result<()> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == ANSWER_MAX {
            return Err(refused("it answers at too great length"));
        }
        answer.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next()) {
        (Some(version), Some(status))
            if version.starts_with("HTTP/1.") && status.len() == 3 && status.starts_with('2') =>
        {
            Ok(())
        }
        (_, Some("407")) => Err(refused("it wants a name and a password: http://user:password@host:port")),
        _ => Err(refused(&format!("it answers `{}`", line.escape_default()))),
    }
}

fn refused(what: &str) -> io::Error {
    io::Error::other(format!("the proxy opens no tunnel: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &str) -> std::result::Result<String, String> {
        let (mut near, mut far) = tokio::io::duplex(1 << 10);
        let proxy = Proxy::new("http://al:p%3Aw@proxy:3128", "::1", 8883).expect("a URL");
        far.write_all(answer.as_bytes()).await.expect("room");
        tunnel(&mut near, &proxy.request).await.map_err(|error| error.to_string())?;
        let mut rest = [0; 4];
        near.read_exact(&mut rest).await.expect("what follows");
        let mut asked = vec![0; proxy.request.len()];
        far.read_exact(&mut asked).await.expect("the request");
        assert_eq!(rest, *b"rest");
        Ok(String::from_utf8(asked).expect("text"))
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_and_what_follows_it_is_left() {
        let asked = answered("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nrest").await.expect("open");
        assert!(asked.starts_with("CONNECT [::1]:8883 HTTP/1.1\r\nHost: [::1]:8883\r\n"), "{asked}");
        assert!(asked.contains("Proxy-Authorization: Basic YWw6cDp3\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn who_refuses_is_quoted() {
        let error = answered("HTTP/1.1 403 No\r\n\r\n").await.expect_err("refused");
        assert!(error.contains("403 No"), "{error}");
        let error = answered("HTTP/1.1 407 Who\r\n\r\n").await.expect_err("refused");
        assert!(error.contains("password"), "{error}");
        assert!(Proxy::new("socks5://proxy", "h", 1).is_err());
        assert!(Proxy::new("proxy:3128", "h", 1).is_ok());
    }
}
