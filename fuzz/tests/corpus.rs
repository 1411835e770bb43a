//! The corpus, and every input that once broke something, through the bodies of the fuzz targets.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use roadbed_fuzz::TARGETS;

#[test]
fn every_input_keeps_the_laws() {
    let mut broken = Vec::new();
    for (name, body) in TARGETS {
        for input in inputs(name) {
            let data = fs::read(&input).expect("a readable input");
            if catch_unwind(|| body(&data)).is_err() {
                broken.push(input);
            }
        }
    }
    assert!(broken.is_empty(), "broken by {broken:#?}");
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stems = |folder: &str| -> BTreeSet<_> {
        entries(&root().join(folder)).map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(stems("fuzz_targets"), names);
    assert_eq!(stems("corpus"), names);
    for name in &names {
        assert!(entries(&root().join("corpus").join(name)).count() > 0, "{name} has no seed");
        let program = fs::read_to_string(root().join("fuzz_targets").join(name).with_extension("rs")).unwrap();
        assert!(program.contains(&format!("roadbed_fuzz::{name}(")), "the program {name} runs its own target");
    }
}

#[test]
fn the_corpus_stays_small() {
    let sizes = TARGETS.iter().flat_map(|(name, _)| entries(&root().join("corpus").join(name)));
    let bytes: u64 = sizes.map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes < 512 * 1024, "{bytes} bytes");
}

/// The seeds, and what fuzzing on this machine has broken.
fn inputs(name: &str) -> Vec<PathBuf> {
    let folders = ["corpus", "artifacts"].map(|folder| root().join(folder).join(name));
    folders.iter().flat_map(|folder| entries(folder)).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("a readable folder").path())
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}
