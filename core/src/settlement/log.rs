/// What a signal of a log's reader does to the checkpoint of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reached {
    /// The group has done with the message: the checkpoint goes past it, as soon as everything before it is done with.
    Past,
    /// The checkpoint stays before the message, which comes again to whoever reads for the group next.
    Before,
    /// The checkpoint goes back.
    Back,
}

impl Reached {
    /// Its name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Past => "past the message",
            Self::Before => "before the message",
            Self::Back => "back",
        }
    }
}

/// One cell: what a reader's signal does to the checkpoint of its group. Of the message it does nothing: reading takes nothing away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The signal, such as `accepted, settled`.
    pub signal: &'static str,
    /// The column in which it can be said: the [slug](super::Variant::slug) of a variant.
    pub variant: &'static str,
    /// Where the checkpoint is then.
    pub reached: Reached,
    /// What the reader is told, in the grammar of [`is_answer`](super::is_answer).
    pub answer: &'static str,
    /// The section of the standard that says so.
    pub section: &'static str,
    /// What else there is to know.
    pub note: &'static str,
}

/// Makes a table of [`Reading`](crate::settlement::Reading) cells: `"signal" in VARIANT => Reached, "answer", "section", "note";`.
#[doc(hidden)]
#[macro_export]
macro_rules! __readings {
    ($($signal:literal in $variant:ident => $reached:ident, $answer:literal, $section:literal, $note:expr;)+) => {
        &[$($crate::settlement::Reading {
            signal: $signal, variant: $variant, reached: $crate::settlement::Reached::$reached,
            answer: $answer, section: $section, note: $note,
        }),+]
    };
}
