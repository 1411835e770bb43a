//! Queues and what they follow, as JSON.

use std::time::Duration;

use bytestring::ByteString;
use roadbed_core::{
    Binding, Filter, FilterError, History, NodeDescription, Overflow, Qos, QueueSettings, RetainHandling, Unbind,
};
use serde::{Deserialize, Serialize};

use super::value;

/// The body of `PUT /v1/subscriptions/{name}` and `PUT /v1/queues/{name}`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeDoc {
    /// What the queue follows; without it, what it follows stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filters: Option<Vec<FilterDoc>>,
    /// The strongest assurance of every filter that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) qos: Option<u8>,
    /// Deleted after it has been without consumers for so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expiry_ms: Option<u64>,
    /// The queue's bounds and habits; a field that is not there has its default.
    #[serde(default)]
    pub(crate) queue: SettingsDoc,
}

/// The body of `POST /v1/subscriptions/{name}`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeDoc {
    #[serde(default)]
    pub(crate) bind: Vec<FilterDoc>,
    #[serde(default)]
    pub(crate) unbind: Vec<UnbindDoc>,
}

/// The answer to [`ChangeDoc`]: for each, what the endpoint says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ChangedDoc {
    pub(crate) bound: Vec<u64>,
    pub(crate) unbound: Vec<u64>,
}

/// A filter, alone or with its terms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum FilterDoc {
    Plain(String),
    Full(BindingDoc),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BindingDoc {
    filter: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    qos: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    no_local: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retain: Option<RetainDoc>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    retain_as_published: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnbindDoc {
    filter: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RetainDoc {
    Always,
    IfNew,
    Never,
}

/// [`QueueSettings`] without its expiry.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsDoc {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    messages_max: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes_max: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overflow: Option<OverflowDoc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<HistoryDoc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deliveries_max: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_max_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durable: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dead_letters: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priorities: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exclusive: Option<bool>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OverflowDoc {
    Refuse,
    DropOldest,
    PushBack,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum HistoryDoc {
    All,
    Last(usize),
    LastByKey,
}

/// What `GET` answers about a queue.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DescriptionDoc {
    pub(crate) address: String,
    pub(crate) filters: Vec<FilterDoc>,
    #[serde(default)]
    pub(crate) expiry_ms: Option<u64>,
    pub(crate) queue: SettingsDoc,
    pub(crate) available: u64,
    pub(crate) held: u64,
    pub(crate) scheduled: u64,
    pub(crate) bytes: u64,
    pub(crate) consumers: u32,
    #[serde(default)]
    pub(crate) extra: Vec<(String, String)>,
}

/// What a purge answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PurgedDoc {
    pub(crate) purged: u64,
}

/// A document that says something that is not legal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocError {
    #[error("the filter {0:?} is not legal: {1}")]
    Filter(String, FilterError),
    #[error("a qos is 0, 1 or 2")]
    Qos,
}

impl NodeDoc {
    pub(crate) fn new(settings: &QueueSettings) -> Self {
        let expiry_ms = settings.expires.map(millis);
        Self { filters: None, qos: None, expiry_ms, queue: SettingsDoc::new(settings) }
    }

    pub(crate) fn settings(&self) -> QueueSettings {
        QueueSettings { expires: self.expiry_ms.map(Duration::from_millis), ..self.queue.settings() }
    }

    /// The bindings, with `default` where neither filter nor document names an assurance.
    pub(crate) fn bindings(&self, default: Qos) -> Result<Option<Vec<Binding>>, DocError> {
        let default = self.qos.map_or(Ok(default), |level| Qos::from_level(level).ok_or(DocError::Qos))?;
        let bindings = self.filters.as_ref().map(|filters| filters.iter().map(|filter| filter.binding(default)));
        bindings.map(Iterator::collect).transpose()
    }
}

impl FilterDoc {
    pub(crate) fn new(binding: &Binding) -> Self {
        let retain = match binding.retain_handling {
            RetainHandling::Always => RetainDoc::Always,
            RetainHandling::IfNew => RetainDoc::IfNew,
            RetainHandling::Never => RetainDoc::Never,
        };
        Self::Full(BindingDoc {
            filter: binding.filter.as_str().to_owned(),
            qos: Some(binding.qos_max.level()),
            share: binding.share.as_deref().map(str::to_owned),
            no_local: binding.no_local,
            retain: Some(retain),
            retain_as_published: binding.retain_as_published,
            id: binding.id,
        })
    }

    pub(crate) fn binding(&self, qos: Qos) -> Result<Binding, DocError> {
        match self {
            Self::Plain(text) => {
                let (share, filter) = filter(text)?;
                Ok(Binding { share, retain_handling: RetainHandling::IfNew, ..Binding::new(filter, qos) })
            }
            Self::Full(doc) => doc.binding(qos),
        }
    }
}

impl BindingDoc {
    fn binding(&self, default: Qos) -> Result<Binding, DocError> {
        let qos = self.qos.map_or(Ok(default), |level| Qos::from_level(level).ok_or(DocError::Qos))?;
        let (share, filter) = filter(&self.filter)?;
        Ok(Binding {
            share: self.share.as_deref().map(ByteString::from).or(share),
            no_local: self.no_local,
            retain_handling: match self.retain {
                Some(RetainDoc::Always) => RetainHandling::Always,
                // The default: the same document twice changes nothing, and sends nothing again.
                Some(RetainDoc::IfNew) | None => RetainHandling::IfNew,
                Some(RetainDoc::Never) => RetainHandling::Never,
            },
            retain_as_published: self.retain_as_published,
            id: self.id,
            ..Binding::new(filter, qos)
        })
    }
}

impl UnbindDoc {
    pub(crate) fn new(unbind: &Unbind) -> Self {
        let share = unbind.share.as_deref().map(str::to_owned);
        Self { filter: unbind.filter.as_str().to_owned(), share }
    }

    pub(crate) fn unbind(&self) -> Result<Unbind, DocError> {
        let (share, filter) = filter(&self.filter)?;
        Ok(Unbind { filter, share: self.share.as_deref().map(ByteString::from).or(share) })
    }
}

impl SettingsDoc {
    fn new(settings: &QueueSettings) -> Self {
        let overflow = match settings.overflow {
            Overflow::Refuse => OverflowDoc::Refuse,
            Overflow::DropOldest => OverflowDoc::DropOldest,
            Overflow::PushBack => OverflowDoc::PushBack,
        };
        let history = match settings.history {
            History::All => HistoryDoc::All,
            History::Last(count) => HistoryDoc::Last(count),
            History::LastByKey => HistoryDoc::LastByKey,
        };
        Self {
            messages_max: Some(settings.messages_max),
            bytes_max: Some(settings.bytes_max),
            overflow: Some(overflow),
            history: Some(history),
            deliveries_max: Some(settings.deliveries_max),
            ttl_max_ms: settings.ttl_max.map(millis),
            durable: Some(settings.durable),
            dead_letters: Some(settings.dead_letters),
            priorities: Some(settings.priorities),
            exclusive: Some(settings.exclusive),
        }
    }

    fn settings(&self) -> QueueSettings {
        let default = QueueSettings::default();
        QueueSettings {
            messages_max: self.messages_max.unwrap_or(default.messages_max),
            bytes_max: self.bytes_max.unwrap_or(default.bytes_max),
            overflow: match self.overflow {
                Some(OverflowDoc::Refuse) => Overflow::Refuse,
                Some(OverflowDoc::DropOldest) => Overflow::DropOldest,
                Some(OverflowDoc::PushBack) => Overflow::PushBack,
                None => default.overflow,
            },
            history: match self.history {
                Some(HistoryDoc::All) => History::All,
                Some(HistoryDoc::Last(count)) => History::Last(count),
                Some(HistoryDoc::LastByKey) => History::LastByKey,
                None => default.history,
            },
            deliveries_max: self.deliveries_max.unwrap_or(default.deliveries_max),
            ttl_max: self.ttl_max_ms.map(Duration::from_millis),
            durable: self.durable.unwrap_or(default.durable),
            dead_letters: self.dead_letters.unwrap_or(default.dead_letters),
            priorities: self.priorities.unwrap_or(default.priorities),
            exclusive: self.exclusive.unwrap_or(default.exclusive),
            expires: None,
        }
    }
}

impl DescriptionDoc {
    pub(crate) fn new(node: &NodeDescription) -> Self {
        Self {
            address: node.address.as_str().to_owned(),
            filters: node.bindings.iter().map(FilterDoc::new).collect(),
            expiry_ms: node.settings.expires.map(millis),
            queue: SettingsDoc::new(&node.settings),
            available: node.available,
            held: node.held,
            scheduled: node.scheduled,
            bytes: node.bytes,
            consumers: node.consumers,
            extra: node.extra.iter().map(|(name, value)| (name.to_string(), value::to_text(value))).collect(),
        }
    }

    /// The description; `None` if it says something that is not legal.
    pub(crate) fn description(&self) -> Option<NodeDescription> {
        let settings = QueueSettings { expires: self.expiry_ms.map(Duration::from_millis), ..self.queue.settings() };
        let mut node = NodeDescription::new(self.address.parse().ok()?, settings);
        let bindings = self.filters.iter().map(|filter| filter.binding(Qos::ExactlyOnce).ok());
        node.bindings = bindings.collect::<Option<_>>()?;
        (node.available, node.held, node.scheduled) = (self.available, self.held, self.scheduled);
        (node.bytes, node.consumers) = (self.bytes, self.consumers);
        let extra = self
            .extra
            .iter()
            .map(|(name, text)| Some((ByteString::from(name.as_str()), value::from_text(text.as_str().into())?)));
        node.extra = extra.collect::<Option<_>>()?;
        Some(node)
    }
}

fn filter(text: &str) -> Result<(Option<ByteString>, Filter), DocError> {
    let parsed = Filter::parse_shared(&ByteString::from(text));
    parsed.map_err(|error| DocError::Filter(text.to_owned(), error))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
