//! The real process: `roadbed serve --data DIR`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::wire::{Result, Trouble};

/// How long a hub may take until it listens.
const START: Duration = Duration::from_secs(60);

/// How hubs are started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// What its configuration file says of `[store]`.
    pub(crate) store: String,
}

/// A hub that runs.
#[derive(Debug)]
pub(crate) struct Hub {
    child: Child,
    pub(crate) mqtt: u16,
    pub(crate) http: u16,
    pub(crate) amqp: u16,
}

impl Program {
    /// Starts a hub on a folder; what it says on standard error goes to `hub.log` beside it.
    pub(crate) fn start(&self, folder: &Path) -> Result<Hub> {
        let mut child = self.spawn(folder)?;
        let lines =
            BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(std::result::Result::ok);
        let (mut ports, until) = ([None; 3], Instant::now() + START);
        for line in lines {
            for (port, scheme) in ports.iter_mut().zip(["mqtt://", "http://", "amqp://"]) {
                let found = line.split_whitespace().find(|word| word.starts_with(scheme));
                *port = port.or_else(|| found?.rsplit(':').next()?.parse().ok());
            }
            if let [Some(mqtt), Some(http), Some(amqp)] = ports {
                return Ok(Hub { child, mqtt, http, amqp });
            }
            if Instant::now() > until {
                break;
            }
        }
        let _ = child.kill();
        let status = child.wait();
        let log = std::fs::read_to_string(log_of(folder)).unwrap_or_default();
        Trouble::wrong(format!("the hub does not start ({status:?}): {}", tail(&log)))
    }

    /// Starts one that nobody will use, and kills it after this time: amid its recovery, perhaps.
    pub(crate) fn start_and_kill(&self, folder: &Path, after: Duration) -> Result {
        let mut child = self.spawn(folder)?;
        std::thread::sleep(after);
        let _ = child.kill();
        let _ = child.wait();
        Ok(())
    }

    fn spawn(&self, folder: &Path) -> Result<Child> {
        let wrong = |what: &str, error: std::io::Error| Trouble::Wrong(format!("{what}: {error}"));
        let config = folder.join("hub.toml");
        std::fs::write(&config, format!("[store]\n{}\n", self.store)).map_err(|error| wrong("hub.toml", error))?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log_of(folder));
        let any = "127.0.0.1:0";
        let mut command = Command::new(&self.path);
        command.arg("serve").arg("--config").arg(config).arg("--data").arg(folder.join("data"));
        command.args(["--mqtt", any, "--http", any, "--amqp", any]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.map_err(|error| wrong("hub.log", error))?);
        command.spawn().map_err(|error| wrong(&self.path.display().to_string(), error))
    }
}

impl Hub {
    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.end();
    }

    /// Whether it has ended by itself, and how.
    pub(crate) fn has_ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.end();
    }
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("hub.log")
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
