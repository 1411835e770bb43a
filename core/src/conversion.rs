//! The conversion tables: where each protocol puts what a message has, as data.
//!
//! Every dialect has one [`Conversion`]. The page `docs/conversion.md` is generated from them for every ordered pair, the tests write and
//! read a message for every cell, and a [`Sidecar`](crate::Sidecar) carries what a table says is not kept.

mod field;

pub use field::Field;

/// The conversion table of one dialect.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// Its name in names of tests, such as `mqtt-5`.
    pub slug: &'static str,
    /// Its heading, such as `MQTT 5`.
    pub title: &'static str,
    /// One cell for every field.
    pub cells: &'static [Cell],
}

/// Where a dialect puts a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The field.
    pub field: Field,
    /// Where it stands, in the words of the standard; empty if it has no place.
    pub place: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// The section of the standard that says so, or that has no place for it.
    pub section: &'static str,
    /// More about it.
    pub note: &'static str,
}

/// What becomes of a field that is written in a dialect and read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The same comes back.
    Kept,
    /// It comes back in another form. Where that is counted ([`Losses`](crate::Losses)), `counted` is the name.
    As {
        /// The other form.
        form: Form,
        /// The name under which the change is counted.
        counted: Option<&'static str>,
    },
    /// It does not come back, which is counted under this name.
    Lost(&'static str),
    /// It is nothing that a sender says: a reader does not believe it, or decides itself; nothing is counted.
    Unsaid,
}

/// The form in which a field comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Its text.
    Text,
    /// The bytes of its text.
    Bytes,
    /// Rounded up to whole seconds, and never 0.
    Seconds,
    /// The first of those that have one name.
    First,
    /// Volatile.
    Volatile,
    /// The bytes of the text, declared to be text.
    Plain,
    /// The bytes, declared to be nothing.
    Undeclared,
    /// The body's sections as AMQP encodes them, declared as [`AMQP_BODY`].
    Sections,
    /// All bytes in one run.
    Joined,
    /// A signed number.
    Signed,
    /// Its base64 (RFC 4648, section 4).
    Base64,
    /// As RFC 3339 writes times.
    Rfc3339,
}

/// The media type of a payload that is the body of an AMQP message as AMQP encodes it (Part 3, sections 3.2.7 and 3.2.8): an `amqp-value` that is neither
/// text nor bytes, or an `amqp-sequence`. Whoever sends such a payload by another protocol sends that body.
pub const AMQP_BODY: &str = "application/vnd.roadbed.amqp-body";

impl Conversion {
    /// The cell of a field.
    pub fn cell(&self, field: Field) -> Option<&'static Cell> {
        self.cells.iter().find(|cell| cell.field == field)
    }

    /// Whether what is written comes back unchanged.
    pub fn keeps(&self, field: Field) -> bool {
        self.cell(field).is_some_and(|cell| cell.fate == Fate::Kept)
    }

    /// The first thing that is wrong with the table itself: a field without a cell or with two, a loss without a section.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), alloc::string::String> {
        use alloc::format;
        for &field in Field::ALL {
            let cells = self.cells.iter().filter(|cell| cell.field == field).count();
            if cells != 1 {
                return Err(format!("{cells} cells for \"{}\" in {}", field.as_str(), self.slug));
            }
        }
        let unexplained = |cell: &&Cell| match cell.fate {
            Fate::Kept | Fate::As { .. } => cell.section.is_empty() || cell.place.is_empty(),
            Fate::Lost(_) => cell.section.is_empty() || !cell.place.is_empty(),
            Fate::Unsaid => cell.note.is_empty(),
        };
        match self.cells.iter().find(unexplained) {
            Some(cell) => Err(format!("{cell:?}")),
            None => Ok(()),
        }
    }
}

impl Cell {
    /// The name under which a loss or a change is counted.
    pub fn counted(&self) -> Option<&'static str> {
        match self.fate {
            Fate::Lost(what) => Some(what),
            Fate::As { counted, .. } => counted,
            Fate::Kept | Fate::Unsaid => None,
        }
    }
}

impl Form {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "its text",
            Self::Bytes => "its text as bytes",
            Self::Seconds => "whole seconds, rounded up",
            Self::First => "the first one",
            Self::Volatile => "volatile",
            Self::Plain => "`text/plain`",
            Self::Undeclared => "bytes",
            Self::Sections => "`application/vnd.roadbed.amqp-body`",
            Self::Joined => "one run of bytes",
            Self::Signed => "a signed number",
            Self::Base64 => "its base64",
            Self::Rfc3339 => "text as in RFC 3339",
        }
    }
}

/// Writes cells as rows: `FIELD = FATE, PLACE, SECTION, NOTE;`, where the fate is `Kept`, `Unsaid`, `Lost(NAME)`, `As(FORM)` or `As(FORM, NAME)`.
#[macro_export]
macro_rules! conversion_cells {
    ($($field:ident = $fate:ident $(($($arg:tt)+))?, $place:literal, $section:expr, $note:expr;)+) => {
        &[$($crate::conversion::Cell {
            field: $crate::conversion::Field::$field,
            place: $place,
            fate: $crate::conversion_cells!(@ $fate $(($($arg)+))?),
            section: $section,
            note: $note,
        },)+]
    };
    (@ As($form:ident)) => {
        $crate::conversion::Fate::As { form: $crate::conversion::Form::$form, counted: None }
    };
    (@ As($form:ident, $counted:literal)) => {
        $crate::conversion::Fate::As { form: $crate::conversion::Form::$form, counted: Some($counted) }
    };
    (@ $fate:ident $(($what:literal))?) => { $crate::conversion::Fate::$fate $(($what))? };
}
