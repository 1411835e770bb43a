//! Against the test suite that WebSocket libraries are measured by: Autobahn's cases, as `kosoku` runs them.

use std::path::PathBuf;
use std::process::Command;

use roadbed_ws::{Messages, Role, accept};
use tokio::net::{TcpListener, TcpStream};

async fn echo(stream: TcpStream) -> std::io::Result<()> {
    let mut messages = Messages::new(accept(stream, &[]).await?.io, Role::Server, 32 << 20);
    while let Some(message) = messages.receive().await? {
        messages.send(&message)?;
        messages.flush().await?;
    }
    Ok(())
}

/// Where the peers are.
fn prefix() -> PathBuf {
    let target = || {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("peers")
    };
    std::env::var_os("ROADBED_PEERS").map_or_else(target, PathBuf::from)
}

/// All but groups 12 and 13, which are about compression.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs peers: cargo xtask test --only interop"]
async fn autobahn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    let reports = std::env::temp_dir().join(format!("roadbed-autobahn-{}", std::process::id()));
    let mut suite = Command::new(prefix().join("bin/kosoku"));
    suite.args(["-p", "4", "-x", "12.*", "-x", "13.*", "-o"]).arg(&reports).arg(address);
    let output = tokio::task::spawn_blocking(move || suite.output()).await.expect("it runs").expect("it is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("301 cases passed"), "{said}\nreports: {}", reports.display());
    std::fs::remove_dir_all(reports).expect("they were written");
}
