//! Keep-alive (section 3.1.2.10), seen from both ends, with one deadline.

use core::time::Duration;

use roadbed_core::Time;

use crate::error::Error;

/// What the machine waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    deadline: Option<Time>,
    heard: Time,
    sent: bool,
    task: Task,
}

#[derive(Debug, Clone, Copy)]
enum Task {
    /// CONNECT or CONNACK must come by the deadline.
    Handshake,
    /// Server: something must be heard within this time.
    Listen(Duration),
    /// Client: look twice per keep-alive whether a ping is needed.
    Ping {
        interval: Duration,
        timeout: Duration,
        asked: Option<Time>,
    },
    Off,
}

/// What has to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Ping,
}

impl Clock {
    pub(crate) fn handshake(now: Time, timeout: Duration) -> Self {
        Self { deadline: Some(now + timeout), heard: now, sent: false, task: Task::Handshake }
    }

    /// A server waits one and a interval times the keep-alive [MQTT-3.1.2-22].
    pub(crate) fn listen(now: Time, keep_alive_secs: u16) -> Self {
        let wait = Duration::from_millis(u64::from(keep_alive_secs) * 1500);
        Self::run(now, keep_alive_secs, wait, Task::Listen(wait))
    }

    /// A client pings so that neither direction is ever silent for a whole keep-alive [MQTT-3.1.2-20].
    pub(crate) fn ping(now: Time, keep_alive_secs: u16, timeout: Duration) -> Self {
        // A packet just after a look is seen by the next one, so that the longest silence is two intervals.
        let interval = Duration::from_millis(u64::from(keep_alive_secs) * 400);
        Self::run(now, keep_alive_secs, interval, Task::Ping { interval, timeout, asked: None })
    }

    fn run(now: Time, keep_alive_secs: u16, first: Duration, task: Task) -> Self {
        let on = keep_alive_secs != 0;
        Self { deadline: on.then(|| now + first), heard: now, sent: false, task: if on { task } else { Task::Off } }
    }

    pub(crate) fn stop(&mut self) {
        self.deadline = None;
        self.task = Task::Off;
    }

    /// A packet came. The deadline is moved only when it is due, so that this costs nothing.
    pub(crate) fn hear(&mut self, now: Time) {
        self.heard = now;
    }

    /// A packet was written.
    pub(crate) fn send(&mut self) {
        self.sent = true;
    }

    pub(crate) const fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    pub(crate) fn expire(&mut self, now: Time) -> Result<Due, Error> {
        if self.deadline.is_none_or(|deadline| !deadline.has_passed(now)) {
            return Ok(Due::Nothing);
        }
        match self.task {
            Task::Off => self.deadline = None,
            Task::Handshake => return Err(Error::ConnectTimeout),
            Task::Listen(wait) if (self.heard + wait).has_passed(now) => return Err(Error::KeepAlive),
            Task::Listen(wait) => self.deadline = Some(self.heard + wait),
            Task::Ping { interval, timeout, asked } => return self.tick(now, interval, timeout, asked),
        }
        Ok(Due::Nothing)
    }

    fn tick(&mut self, now: Time, interval: Duration, timeout: Duration, asked: Option<Time>) -> Result<Due, Error> {
        // Whatever came since the question is as good as its answer.
        let asked = asked.filter(|&asked| self.heard < asked);
        if asked.is_some_and(|asked| (asked + timeout).has_passed(now)) {
            return Err(Error::PingTimeout);
        }
        let silent = !self.sent || (self.heard + interval).has_passed(now);
        let due = if silent && asked.is_none() { Due::Ping } else { Due::Nothing };
        let asked = if due == Due::Ping { Some(now) } else { asked };
        self.sent = false;
        self.task = Task::Ping { interval, timeout, asked };
        let answer_by = asked.map_or(Time::MAX, |asked| asked + timeout);
        self.deadline = Some(answer_by.min(now + interval));
        Ok(due)
    }
}
