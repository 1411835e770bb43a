//! `roadbed store`, and what the hub says of a folder that it cannot use.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::Hub;

fn roadbed(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadbed"));
    let place = arguments.iter().position(|argument| *argument == "DIR").expect("a folder");
    command.args(&arguments[..place]).arg(folder).args(&arguments[place + 1..]);
    command.output().expect("it runs")
}

fn said(arguments: &[&str], folder: &Path) -> String {
    let output = roadbed(arguments, folder);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// It fails in this way; what it says.
fn refused(arguments: &[&str], folder: &Path, code: i32) -> String {
    let output = roadbed(arguments, folder);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &error
}

const SERVE: &[&str] = &["serve", "--http", "127.0.0.1:0", "--data", "DIR"];
const CHECK: &[&str] = &["store", "check", "DIR"];

/// The folder of a hub that was killed with messages in it.
fn filled(messages: u32) -> tempfile::TempDir {
    let hub = Hub::with("[store]\nsegment_bytes = 65536\n");
    (0..messages).for_each(|n| hub.post("queues/q", &[], &format!("{n} {}", "x".repeat(1000))));
    hub.into_folder()
}

fn data(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("data")
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "journal")).collect();
    files.sort();
    files
}

#[test]
fn a_folder_is_for_one_process() {
    let hub = Hub::start();
    for arguments in [SERVE, CHECK, &["store", "repair", "DIR", "--yes"], &["store", "stats", "DIR"]] {
        let error = refused(arguments, &hub.data(), 3);
        assert!(error.contains("another process uses this store"), "{error}");
    }
}

#[test]
fn a_sound_journal_is_said_to_be_so() {
    let folder = filled(20);
    assert!(said(CHECK, &data(&folder)).contains(" 20 messages and "));
    assert!(said(&["store", "stats", "DIR"], &data(&folder)).contains(" 20 messages and "));
    assert!(said(&["store", "repair", "DIR", "--yes"], &data(&folder)).contains("nothing to repair"));
    assert!(said(CHECK, &data(&folder)).contains(" 20 messages and "));
}

#[test]
fn damage_is_named_with_what_to_do_and_the_rest_can_be_had() {
    let folder = filled(200);
    let data = data(&folder);
    let files = segments(&data);
    assert!(files.len() > 2, "{files:?}");
    let file = std::fs::OpenOptions::new().write(true).open(&files[0]).expect("a segment");
    file.write_all_at(&[0xee; 2000], 20_000).expect("written");
    let name = files[0].file_name().expect("a name").to_string_lossy().into_owned();
    let check = refused(CHECK, &data, 1);
    assert!(check.contains(&format!("lost: {name} at byte ")) && check.contains("store repair"), "{check}");
    let only_said = refused(&["store", "repair", "DIR"], &data, 2);
    assert!(only_said.contains("nothing was changed") && only_said.contains("--yes"), "{only_said}");
    let repaired = said(&["store", "repair", "DIR", "--yes"], &data);
    assert!(repaired.contains("lost: ") && repaired.contains("damaged-1"), "{repaired}");
    said(CHECK, &data);
    let hub = Hub::on(folder, "");
    let left = hub.backlog("queues/q");
    assert!((150..200).contains(&left), "{left} of 200 messages");
}

#[test]
fn damage_at_a_place_that_is_read_at_the_start_refuses_the_start() {
    let folder = filled(200);
    let data = data(&folder);
    let files = segments(&data);
    let file = std::fs::OpenOptions::new().write(true).open(&files[1]).expect("a segment");
    file.write_all_at(&[0xee; 16], 0).expect("written");
    let name = files[1].file_name().expect("a name").to_string_lossy().into_owned();
    let error = refused(SERVE, &data, 3);
    assert!(error.contains(&format!("{name} is damaged at byte 0")), "{error}");
    assert!(error.contains("store check") && error.contains("store repair"), "{error}");
}

#[test]
fn an_unknown_format_is_refused_with_what_to_do() {
    let folder = filled(1);
    let first = segments(&data(&folder)).remove(0);
    let mut bytes = std::fs::read(&first).expect("read");
    bytes[8] = 9;
    let sum = crc32c::crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&first, bytes).expect("written");
    for arguments in [SERVE, CHECK] {
        let error = refused(arguments, &data(&folder), 3);
        assert!(error.contains("has format 9") && error.contains("use the version that wrote it"), "{error}");
    }
}

#[test]
fn what_is_no_journal_is_said_to_be_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = refused(CHECK, &folder.path().join("nowhere"), 3);
    assert!(missing.contains("nowhere"), "{missing}");
    assert!(!folder.path().join("nowhere").exists(), "looking makes nothing");
    let empty = refused(CHECK, folder.path(), 3);
    assert!(empty.contains("there is no journal"), "{empty}");
    let file = folder.path().join("file");
    std::fs::write(&file, "text").expect("written");
    for arguments in [SERVE, CHECK] {
        let error = refused(arguments, &file, 3);
        assert!(error.contains("is not a folder"), "{error}");
    }
}

#[test]
fn every_command_explains_itself() {
    let help = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_roadbed")).args(arguments).arg("--help").output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(help(&["store"]).contains("Examples:"));
    for command in ["check", "repair", "stats"] {
        assert!(help(&["store", command]).contains("The folder"), "{command}");
    }
}
