use std::ops::ControlFlow;

use bytes::Bytes;
use roadbed_broker::{LogEntry, LogRead, ReadFrom};
use roadbed_core::{QueueId, Time};

use super::Placed;
use crate::codec::{Entry, HEADER, Header, LogOp, Place, Run, Take, record_entries, take_message};
use crate::error::JournalError;
use crate::index::Files;
use crate::segment::Reader;

/// Reads what was asked for, from runs that have it.
pub(crate) fn page(files: &Files, read: &LogRead, runs: &[Placed]) -> Result<Vec<LogEntry>, JournalError> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for Placed { segment, run } in runs {
        let file = files.file(*segment)?;
        let reader = Reader { id: *segment, file: &**file };
        messages(&reader, read.partition, run, |position, at, place, body| {
            let wanted = match read.from {
                ReadFrom::Position(from) => position >= from,
                ReadFrom::Time(from) => at >= from,
            };
            if !wanted {
                return Ok(ControlFlow::Continue(()));
            }
            if entries.len() >= read.messages_max || bytes >= read.bytes_max {
                return Ok(ControlFlow::Break(()));
            }
            bytes += body.len();
            let broken = |error| reader.corrupt(place.offset.into(), format!("a message cannot be read: {error}"));
            let message = take_message(&mut Take::new(body)).map_err(broken)?;
            entries.push(LogEntry { position, at, message });
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(entries)
}

/// Tells every message of a run: its position, its time, and its body.
pub(crate) fn messages(
    reader: &Reader<'_>,
    partition: QueueId,
    run: &Run,
    mut tell: impl FnMut(u64, Time, Place, Bytes) -> Result<ControlFlow<()>, JournalError>,
) -> Result<(), JournalError> {
    let lies = reader.read(run.start.into(), (run.end - run.start) as usize)?;
    let mut offset = run.start;
    while offset < run.end {
        let (content, len) = record(reader, &lies, run, offset)?;
        let begins = offset + HEADER as u32;
        for entry in record_entries(content.clone(), begins) {
            let entry =
                entry.map_err(|error| reader.corrupt(offset.into(), format!("a record cannot be read: {error}")))?;
            let Entry::Log(LogOp::Append { at, places, body, .. }) = entry else { continue };
            let ours =
                places.iter().filter(|(of, position)| *of == partition && (run.first..run.next()).contains(position));
            for (_, position) in ours {
                let from = (body.offset - begins) as usize;
                if tell(*position, at, body, content.slice(from..from + body.len as usize))?.is_break() {
                    return Ok(());
                }
            }
        }
        offset = begins + len;
    }
    Ok(())
}

/// The content of the record at `offset`, and its length: of what was read, or, if it goes beyond that, read alone.
fn record(reader: &Reader<'_>, lies: &Bytes, run: &Run, offset: u32) -> Result<(Bytes, u32), JournalError> {
    let broken = || reader.corrupt(offset.into(), "a record of a log is not what was written");
    let rest = lies.slice((offset - run.start) as usize..);
    if let Some(header) = Header::read(&rest)
        && let Some(content) = rest.get(HEADER..HEADER + header.len as usize)
    {
        let fits = header.fits(content);
        return if fits { Ok((rest.slice_ref(content), header.len)) } else { Err(broken()) };
    }
    let (header, content) = reader.record(offset.into(), reader.bytes()?)?.ok_or_else(broken)?;
    Ok((content, header.len))
}
