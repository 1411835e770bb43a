//! Other people's clients over TLS, at ports of its own and at the port for all.

use std::path::Path;

use tempfile::TempDir;

use crate::support::{Hub, curl_with, finish, roadbed, run};

/// A hub that speaks TLS, and the certificates.
struct Secure {
    folder: TempDir,
    hub: Hub,
}

impl Secure {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = finish(roadbed().args(["tls", "make"]).arg(folder.path()));
        assert!(made.status.success(), "{made:?}");
        let any = "127.0.0.1:0";
        let (cert, key, ca) = (file(&folder, "server.pem"), file(&folder, "server.key"), file(&folder, "ca.pem"));
        let listening = ["--mqtts", any, "--amqps", any, "--https", any, "--listen", any];
        let certified = ["--cert", &cert, "--key", &key, "--client-ca", &ca];
        Self { hub: Hub::with(&[&listening[..], &certified, arguments].concat()), folder }
    }

    fn port(&mut self, mark: &str) -> String {
        let line = self.hub.process.line(mark);
        line.rsplit(':').next().expect("a port").trim().to_owned()
    }

    fn file(&self, name: &str) -> String {
        file(&self.folder, name)
    }
}

fn file(folder: &TempDir, name: &str) -> String {
    let path: &Path = folder.path();
    path.join(name).to_str().expect("a path").to_owned()
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn paho() {
    let mut secure = Secure::start(&[]);
    let (mqtts, https, any) = (secure.port("mqtts://"), secure.port("https://"), secure.port("ALL "));
    let ca = secure.file("ca.pem");
    run("paho_client.py", &[&mqtts, "tcp", &ca]);
    run("paho_client.py", &[&https, "websockets", &ca]);
    run("paho_client.py", &[&any, "websockets", &ca]);
    run("paho_client.py", &[&any, "tcp"]);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn aiomqtt_with_a_certificate() {
    let mut secure = Secure::start(&["--client-auth", "required"]);
    let mqtts = secure.port("mqtts://");
    let (ca, cert, key) = (secure.file("ca.pem"), secure.file("client.pem"), secure.file("client.key"));
    run("aiomqtt_client.py", &[&mqtts, &ca, &cert, &key]);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn proton() {
    let mut secure = Secure::start(&[]);
    let (amqps, any) = (secure.port("amqps://"), secure.port("ALL "));
    let (ca, cert, key) = (secure.file("ca.pem"), secure.file("client.pem"), secure.file("client.key"));
    run("proton_tls.py", &[&amqps, &ca]);
    run("proton_tls.py", &[&any, &ca, &cert, &key]);
}

#[test]
#[ignore = "needs peers: cargo xtask test --only interop"]
fn curl_speaks_either_version_of_http() {
    let mut secure = Secure::start(&[]);
    let (https, any, ca) = (secure.port("https://"), secure.port("ALL "), secure.file("ca.pem"));
    for (port, version, first) in
        [(&https, "--http2", "HTTP/2 "), (&any, "--http2", "HTTP/2 "), (&any, "--http1.1", "HTTP/1.1 ")]
    {
        let url = format!("https://localhost:{port}/v1/messages/queues/curl");
        let posted = curl_with(&["--cacert", &ca, version, &url, "-d", "over TLS"], b"");
        assert!((200..300).contains(&posted.status), "{posted:?}");
        let got = curl_with(&["--cacert", &ca, version, &url], b"");
        assert!(got.headers.starts_with(first) && got.body == b"over TLS", "{got:?}");
        let url = format!("https://localhost:{port}/v1/locks/{}", got.token());
        assert_eq!(curl_with(&["--cacert", &ca, version, "-X", "DELETE", &url], b"").status, 204);
    }
}
