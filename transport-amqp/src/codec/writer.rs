use bytes::{BufMut, BytesMut};

pub(crate) fn put_null(out: &mut BytesMut) {
    out.put_u8(0x40);
}

pub(crate) fn put_bool(out: &mut BytesMut, value: bool) {
    out.put_u8(if value { 0x41 } else { 0x42 });
}

/// A uint in its shortest form; null for none.
pub(crate) fn put_u32(out: &mut BytesMut, value: impl Into<Option<u32>>) {
    match value.into() {
        None => put_null(out),
        Some(0) => out.put_u8(0x43),
        Some(value @ 1..=255) => out.put_slice(&[0x52, value as u8]),
        Some(value) => {
            out.put_u8(0x70);
            out.put_u32(value);
        }
    }
}

/// A ulong in its shortest form.
pub(crate) fn put_u64(out: &mut BytesMut, value: u64) {
    match value {
        0 => out.put_u8(0x44),
        1..=255 => out.put_slice(&[0x53, value as u8]),
        _ => {
            out.put_u8(0x80);
            out.put_u64(value);
        }
    }
}

pub(crate) fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    put_variable(out, 0xa0, bytes);
}

pub(crate) fn put_str(out: &mut BytesMut, text: &str) {
    put_variable(out, 0xa1, text.as_bytes());
}

pub(crate) fn put_symbol(out: &mut BytesMut, symbol: &str) {
    put_variable(out, 0xa3, symbol.as_bytes());
}

fn put_variable(out: &mut BytesMut, code: u8, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(len) => out.put_slice(&[code, len]),
        Err(_) => {
            out.put_u8(code + 0x10);
            out.put_u32(bytes.len() as u32);
        }
    }
    out.put_slice(bytes);
}

/// A list of `count` values that `write` appends.
pub(crate) fn put_list(out: &mut BytesMut, count: u32, write: impl FnOnce(&mut BytesMut)) {
    put_compound(out, 0xc0, |out| {
        write(out);
        count
    });
}

/// A described list of `count` fields.
pub(crate) fn put_described_list(out: &mut BytesMut, descriptor: u8, count: u32, write: impl FnOnce(&mut BytesMut)) {
    out.put_slice(&[0x00, 0x53, descriptor]);
    put_list(out, count, write);
}

/// A map of what `write` appends; it says how many keys and values together that is.
pub(crate) fn put_map(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut) -> u32) {
    put_compound(out, 0xc1, write);
}

/// Written in its short form, and moved only if it turns out long.
fn put_compound(out: &mut BytesMut, code: u8, write: impl FnOnce(&mut BytesMut) -> u32) {
    let start = out.len();
    out.put_slice(&[code, 0, 0]);
    let count = write(out);
    let size = out.len() - start - 2;
    match (u8::try_from(size), u8::try_from(count)) {
        (Ok(size), Ok(count)) => out[start + 1..start + 3].copy_from_slice(&[size, count]),
        _ => {
            let body = out.split_off(start + 3);
            out.truncate(start);
            out.put_u8(code + 0x10);
            out.put_u32(body.len() as u32 + 4);
            out.put_u32(count);
            out.put_slice(&body);
        }
    }
}
