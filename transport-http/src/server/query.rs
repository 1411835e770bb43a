//! What a request asks for beside its path.

use bytestring::ByteString;
use http::{HeaderMap, Uri};
use roadbed_core::cloudevents;

use super::reply::Failure;
use crate::codec::event::essence;
use crate::codec::fields::digits;
use crate::codec::{names, text};

/// The longest name that a client gives, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The parameters of a poll.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PollQuery {
    /// `max=N`: a page of so many messages.
    pub(super) max: Option<u32>,
    /// `lock=SECONDS`.
    pub(super) lock_secs: Option<u64>,
    /// `link=NAME`: whom `undeliverable_here` excludes.
    pub(super) link: Option<ByteString>,
}

impl PollQuery {
    pub(super) fn read(uri: &Uri) -> Result<Self, Failure> {
        let mut query = Self::default();
        for (name, value) in pairs(uri) {
            match name {
                "max" => query.max = Some(positive(value, "max is the number of messages of a page, 1 or more")?),
                "lock" => query.lock_secs = Some(positive(value, "lock is a number of seconds, 1 or more")?),
                "link" => query.link = Some(given_name(value, "link is a name of 1 to 255 bytes, percent-encoded")?),
                _ => return Err(Failure::invalid(format!("{name:?} is unknown: a poll has max, lock and link"))),
            }
        }
        Ok(query)
    }
}

/// How long the request may be held, in seconds: `Prefer: wait=N` (RFC 7240, section 4.3). The first one counts (section 2).
pub(super) fn wait_secs(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(names::PREFER).into_iter().filter_map(|line| line.to_str().ok());
    let mut preferences = lines.flat_map(|line| line.split(','));
    preferences.find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| digits(value.trim().trim_matches('"')))?
    })
}

/// What a poll accepts beside messages as they are (RFC 9110, section 12.5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepts {
    /// `application/cloudevents+json`: one event.
    pub(super) event: bool,
    /// `application/cloudevents-batch+json`: a page of them.
    pub(super) batch: bool,
}

impl Accepts {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(http::header::ACCEPT).into_iter().filter_map(|line| line.to_str().ok());
        let ranges = lines.flat_map(|line| line.split(',')).filter(|range| !is_refused(range));
        let mut accepts = Self::default();
        for range in ranges.map(essence) {
            accepts.event |= range.eq_ignore_ascii_case(cloudevents::JSON);
            accepts.batch |= range.eq_ignore_ascii_case(cloudevents::BATCH);
        }
        accepts
    }
}

/// A weight of 0 means not acceptable (section 12.4.2).
fn is_refused(range: &str) -> bool {
    let weight = range.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("q="));
    weight.and_then(|weight| weight.parse::<f32>().ok()) == Some(0.0)
}

/// The parameters of a request, each with its value, as they are.
pub(super) fn pairs(uri: &Uri) -> impl Iterator<Item = (&str, &str)> {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A name that the client gives, percent-encoded: of a link, or of a group.
pub(super) fn given_name(text: &str, rule: &'static str) -> Result<ByteString, Failure> {
    let name = text::decode(text.as_bytes()).ok().filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()));
    name.ok_or_else(|| Failure::invalid(rule))
}

pub(super) fn positive<T: std::str::FromStr + PartialEq + Default>(
    text: &str,
    rule: &'static str,
) -> Result<T, Failure> {
    digits(text).filter(|number| *number != T::default()).ok_or_else(|| Failure::invalid(rule))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn prefer_is_a_list() {
        let waits = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| (names::PREFER, HeaderValue::from_static(line)));
            let mut headers = HeaderMap::new();
            headers.extend(lines);
            wait_secs(&headers)
        };
        assert_eq!(waits(&["wait=10"]), Some(10));
        assert_eq!(waits(&["respond-async, wait=10"]), Some(10));
        assert_eq!(waits(&["return=minimal", "Wait = \"3\"; x=y"]), Some(3));
        assert_eq!(waits(&["wait=-1"]), None);
        assert_eq!(waits(&["wait"]), None);
        assert_eq!(waits(&[]), None);
    }

    #[test]
    fn parameters_are_known_or_refused() {
        let read = |uri: &'static str| PollQuery::read(&Uri::from_static(uri));
        assert_eq!(read("/?max=5&lock=9").unwrap(), PollQuery { max: Some(5), lock_secs: Some(9), link: None });
        assert_eq!(read("/").unwrap(), PollQuery::default());
        for wrong in
            ["/?max=0", "/?max=", "/?max=-1", "/?lock=1.5", "/?mux=5", "/?link=", "/?link=%f", "/?max=99999999999"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
