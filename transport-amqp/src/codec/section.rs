use alloc::vec::Vec;
use core::ops::Range;

use smallvec::SmallVec;

use super::reader::Reader;
use super::{GuardLimits, walk};
use crate::DecodeError;

/// Where the sections of a message are (Part 3, section 3.2), each from its descriptor on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sections {
    /// The header.
    pub header: Option<Range<usize>>,
    /// Annotations for the next hop.
    pub delivery_annotations: Option<Range<usize>>,
    /// Annotations for the way to the receiver.
    pub message_annotations: Option<Range<usize>>,
    /// The properties: the bare message begins here, or at one of the next two.
    pub properties: Option<Range<usize>>,
    /// The application's properties.
    pub application_properties: Option<Range<usize>>,
    /// The body.
    pub body: Body,
    /// The footer.
    pub footer: Option<Range<usize>>,
    /// The bare message: properties, application properties and body.
    pub bare: Range<usize>,
}

/// The body of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Body {
    /// There is none, which some senders do although section 3.2 asks for one.
    #[default]
    Empty,
    /// The bytes of data sections, without their headers.
    Data(SmallVec<[Range<usize>; 1]>),
    /// Sequences, each as it is encoded, descriptor included.
    Sequence(Vec<Range<usize>>),
    /// One value, without the section's descriptor.
    Value(Range<usize>),
}

/// Walks the sections by their sizes: the bytes of the payload are not looked at.
///
/// `message` may be the beginning of a message of `total` bytes, as long as all but the end of one data section is in it.
///
/// # Errors
/// [`DecodeError`] for what is no message: sections out of order, unknown or repeated; [`DecodeError::Truncated`] also if more of it is needed.
pub fn sections(message: &[u8], total: usize, limits: &GuardLimits) -> Result<Sections, DecodeError> {
    let mut found = Sections::default();
    let (mut at, mut last, mut bare_end) = (0, 0, None);
    let mut bare_start = None;
    while at < message.len() {
        let start = at;
        let mut reader = Reader::new(&message[at..]);
        let number = reader.descriptor()?.ok_or(DecodeError::Section)?;
        let value = at + reader.at();
        let data = if number == 0x75 { Some(data(message, value, total)?) } else { None };
        at = match &data {
            Some(data) => data.end,
            None => walk(message, start, limits)?,
        };
        let repeats = number == last && matches!(number, 0x75 | 0x76);
        let (bodies, footer) = (0x75..=0x77, 0x78);
        let second_body = bodies.contains(&number) && bodies.contains(&last);
        if !(0x70..=footer).contains(&number) || (!repeats && (number <= last || second_body)) {
            return Err(DecodeError::Section);
        }
        last = number;
        if (0x73..=0x77).contains(&number) {
            bare_start.get_or_insert(start);
            bare_end = Some(at);
        }
        let whole = start..at;
        match number {
            0x70 => found.header = Some(whole),
            0x71 => found.delivery_annotations = Some(whole),
            0x72 => found.message_annotations = Some(whole),
            0x73 => found.properties = Some(whole),
            0x74 => found.application_properties = Some(whole),
            0x75 => match (&mut found.body, data) {
                (Body::Data(pieces), data) => pieces.extend(data),
                (body, data) => *body = Body::Data(data.into_iter().collect()),
            },
            0x76 => match &mut found.body {
                Body::Sequence(pieces) => pieces.push(whole),
                body => *body = Body::Sequence(alloc::vec![whole]),
            },
            0x77 => found.body = Body::Value(value..at),
            _ => found.footer = Some(whole),
        }
    }
    if at < total {
        return Err(DecodeError::Truncated);
    }
    let end = bare_end.unwrap_or(at);
    found.bare = bare_start.unwrap_or(end)..end;
    Ok(found)
}

/// The bytes of the data section whose value begins at `at`; they may end behind `message`, but not behind `total`.
fn data(message: &[u8], at: usize, total: usize) -> Result<Range<usize>, DecodeError> {
    let rest = message.get(at..).ok_or(DecodeError::Truncated)?;
    let (start, len) = match *rest {
        [0xa0, len, ..] => (at + 2, usize::from(len)),
        [0xb0, a, b, c, d, ..] => (at + 5, u32::from_be_bytes([a, b, c, d]) as usize),
        [code, ..] if !matches!(code, 0xa0 | 0xb0) => return Err(DecodeError::Type(code)),
        _ => return Err(DecodeError::Truncated),
    };
    match start.checked_add(len) {
        Some(end) if end <= total => Ok(start..end),
        _ => Err(DecodeError::Truncated),
    }
}
