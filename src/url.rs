//! Where to connect to, and what to send to or receive from there.

use std::fmt;
use std::str::FromStr;

use roadbed_core::{Address, Error, ErrorKind, Filter, Result, unescape};

/// A URL of a message server: `mqtt://user:password@host:port/topic/name?version=5`.
///
/// The path is an [`Address`] or a [`Filter`], with everything but slashes percent-encoded as need be. `+` and `#` stand for
/// themselves: no URL of a message server has a fragment. An empty path names nothing. What the options after `?` are is the
/// protocol's own.
///
/// ```
/// let url: roadbed::Url = "mqtt://alice:s%20ecret@[::1]/plant/+/alarm".parse()?;
/// assert_eq!((url.scheme(), url.server()), ("mqtt", "mqtt://[::1]".into()));
/// assert_eq!(url.filter()?.as_str(), "plant/+/alarm");
/// assert!(url.address().is_err());
/// # Ok::<_, roadbed::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    login: Option<String>,
    host: String,
    path: String,
    options: String,
}

impl Url {
    /// The protocol, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The decoded path without its first slash; empty if nothing is named.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path as an address.
    ///
    /// # Errors
    /// If it is empty or has wildcards.
    pub fn address(&self) -> Result<Address> {
        self.path.parse().map_err(|error| self.wrong(format_args!("`{}` is no address: {error}", self.path)))
    }

    /// The path as a filter.
    ///
    /// # Errors
    /// If it is empty or has wildcards in the wrong place.
    pub fn filter(&self) -> Result<Filter> {
        self.path.parse().map_err(|error| self.wrong(format_args!("`{}` is no filter: {error}", self.path)))
    }

    /// Whether this option of the protocol is set.
    #[cfg(feature = "amqp")]
    pub(crate) fn has_option(&self, name: &str) -> bool {
        self.options.split('&').any(|option| option.split('=').next() == Some(name))
    }

    /// The server alone, without secrets: for messages to people.
    pub fn server(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }

    /// The host, a name or a number without the brackets of IPv6.
    pub fn host(&self) -> &str {
        match self.host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((number, _)) => number,
            None => self.host.split_once(':').map_or(&self.host, |(name, _)| name),
        }
    }

    /// The server with login and options, as the transports read it.
    pub(crate) fn target(&self) -> String {
        self.target_as(&self.scheme)
    }

    /// The same, as if it were another protocol's.
    pub(crate) fn target_as(&self, scheme: &str) -> String {
        let login = self.login.as_ref().map_or_else(String::new, |login| format!("{login}@"));
        let options = if self.options.is_empty() { String::new() } else { format!("?{}", self.options) };
        format!("{scheme}://{login}{}{options}", self.host)
    }

    fn wrong(&self, what: fmt::Arguments<'_>) -> Error {
        Error::new(ErrorKind::Invalid, "read the URL").detail(format_args!("{}: {what}", self.server()))
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|why| {
            Error::new(ErrorKind::Invalid, "read the URL")
                .detail(format_args!("{why}; a URL is such as mqtt://user:password@host:1883/topic/name"))
        })
    }
}

fn parse(text: &str) -> Result<Url, String> {
    let (scheme, rest) = text.split_once("://").ok_or("there is no `://`")?;
    if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+') {
        return Err(format!("`{scheme}` is no protocol"));
    }
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, host) = authority.rsplit_once('@').map_or((None, authority), |(login, host)| (Some(login), host));
    if host.is_empty() {
        return Err("there is no host".to_owned());
    }
    Ok(Url {
        scheme: scheme.to_ascii_lowercase(),
        login: login.map(str::to_owned),
        host: host.to_owned(),
        path: decode(path)?,
        options: options.to_owned(),
    })
}

fn decode(text: &str) -> Result<String, String> {
    let bytes = unescape(text, '%').map_err(|_| format!("`{text}` has a `%` without two hexadecimal digits"))?;
    String::from_utf8(bytes).map_err(|_| format!("`{text}` is not UTF-8"))
}

impl fmt::Debug for Url {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({}/{})", self.server(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn reads_every_part() {
        let url = url("MQTT://al%40ice:p%3Ass:w@example.org:1884/a//%C3%A9?version=3.1.1&client_id=a%26b");
        assert_eq!((url.scheme(), url.path()), ("mqtt", "a//é"));
        assert_eq!((url.host(), super::tests::url("mqtt://[::1]:1").host()), ("example.org", "::1"));
        assert_eq!(format!("{url:?}"), "Url(mqtt://example.org:1884/a//é)");
        assert_eq!(url.target(), "mqtt://al%40ice:p%3Ass:w@example.org:1884?version=3.1.1&client_id=a%26b");
    }

    #[test]
    fn wildcards_stand_for_themselves() {
        assert_eq!(url("mqtt://h/+/b/#").filter().unwrap().as_str(), "+/b/#");
        assert_eq!(url("mqtt://h/#").path(), "#");
        assert!(url("mqtt://h/a/#").address().is_err());
        assert!(url("mqtt://h").address().is_err());
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, why) in [
            ("localhost", "no `://`"),
            ("mq tt://h", "no protocol"),
            ("mqtt://", "no host"),
            ("mqtt://h/%zz", "hexadecimal"),
            ("mqtt://h/%ff", "not UTF-8"),
        ] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
