//! The nearest known word to one that is not known.

/// How alike two words must be, from 0 to 1, for one to be offered for the other.
const ALIKE: f64 = 0.7;

/// The word of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_what_was_probably_meant_and_nothing_far_off() {
        assert_eq!(nearest("mqt", ["http", "mqtt", "broker"]), Some("mqtt"));
        assert_eq!(
            nearest("sys_interval_secs", ["drain_seconds", "sys_interval_seconds"]),
            Some("sys_interval_seconds")
        );
        assert_eq!(nearest("zzz", ["http", "mqtt"]), None);
    }
}
