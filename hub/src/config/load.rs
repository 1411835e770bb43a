//! Reads a configuration file, and says where and how it is wrong.

use std::path::Path;

use super::Config;
use crate::error::{Failure, Result};
use crate::nodes;
use crate::suggest::nearest;

impl Config {
    /// Reads the configuration from a file.
    ///
    /// # Errors
    /// If the file cannot be read, is not TOML, has a key that is not known or a value that cannot be, or a queue or log that is
    /// not legal: with the file, the line and the nearest known key.
    pub fn load(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("cannot read the configuration {name}: {error}"))
                .help("`roadbed config > roadbed.toml` writes one with every default")
        })?;
        Self::parse(&text, &name.to_string())
    }

    /// Reads the configuration from text that came from `name`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| explain(&error, text, name))?;
        let nodes = nodes::check(&config.queues).and_then(|()| nodes::check(&config.logs));
        nodes.map_err(|wrong| wrong.explain(text, name))?;
        Ok(config)
    }
}

fn explain(error: &toml::de::Error, text: &str, name: &str) -> Failure {
    let place = error.span().map_or_else(String::new, |span| format!(" line {}", line(text, span.start)));
    let message = error.message();
    if let Some((unknown, known)) = unknown_key(message) {
        let failure = format!("unknown key \"{unknown}\" in {name}{place}");
        return match nearest(unknown, known.iter().copied()) {
            Some(meant) => Failure::usage(format!("{failure}; did you mean \"{meant}\"?")),
            None => Failure::usage(failure).help(format!("known here: {}", known.join(", "))),
        };
    }
    Failure::usage(format!("{name}{place}: {message}"))
}

fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// Takes serde's message apart: "unknown field `mqt`, expected one of `mqtt`, `http`".
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text, "roadbed.toml").unwrap_err().to_string()
    }

    #[test]
    fn names_the_line_and_the_nearest_key() {
        let text = "[listen]\nhttp = []\nmqt = []\n";
        assert_eq!(error(text), "unknown key \"mqt\" in roadbed.toml line 3; did you mean \"mqtt\"?");
        assert_eq!(error("[lisen]\n"), "unknown key \"lisen\" in roadbed.toml line 1; did you mean \"listen\"?");
    }

    #[test]
    fn lists_the_known_keys_when_none_is_near() {
        let text = error("[listen]\nqqq = 1\n");
        assert_eq!(
            text,
            "unknown key \"qqq\" in roadbed.toml line 2\n  help: known here: mqtt, http, amqp, mqtts, https, amqps, ws, wss, any"
        );
    }

    #[test]
    fn names_the_line_of_a_wrong_value_and_of_broken_text() {
        assert!(error("[hub]\n\ndrain_seconds = \"soon\"\n").starts_with("roadbed.toml line 3: invalid type: string"));
        assert!(error("[listen]\nmqtt = [\"nowhere\"]\n").starts_with("roadbed.toml line 2: "));
        assert!(error("[hub\n").starts_with("roadbed.toml line 1: "));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let failure = Config::load(Path::new("/nonexistent/roadbed.toml")).unwrap_err().to_string();
        assert!(failure.starts_with("cannot read the configuration /nonexistent/roadbed.toml: "), "{failure}");
        assert!(failure.contains("roadbed config >"), "{failure}");
    }
}
