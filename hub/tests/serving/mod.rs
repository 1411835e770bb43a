//! A hub in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts a hub on free ports, with these arguments, this configuration file and its log going to `log`: its process, and its addresses for MQTT, HTTP and AMQP.
pub(crate) fn serve(command: &mut Command, config: &Path, log: Stdio) -> (Child, [String; 3]) {
    let any = "127.0.0.1:0";
    command.args(["--mqtt", any, "--http", any, "--amqp", any, "--config"]).arg(config);
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the hub starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let said: Vec<String> = lines.take_while(|line| !line.starts_with("Try it")).collect();
    let address = |scheme: &str| {
        let words = said.iter().flat_map(|line| line.split_whitespace());
        let found = words.filter_map(|word| word.strip_prefix(scheme)).next();
        found.unwrap_or_else(|| panic!("no {scheme} in {said:?}")).trim_end_matches('/').to_owned()
    };
    (child, [address("mqtt://"), address("http://"), address("amqp://")])
}
