//! Frames ⇄ bytes: the guard, the frame layer, performatives, SASL and message sections.
//!
//! Whatever a peer sent is walked by [`walk`] before anything decodes it. Transfer, disposition and flow are read and written
//! by hand; the performatives off the hot path are those of `fe2o3-amqp-types`, through `serde_amqp`.

mod control;
mod disposition;
mod flow;
mod frame;
mod guard;
mod header;
mod performative;
mod reader;
mod sasl;
mod section;
mod state;
mod tag;
mod transfer;
mod value;
mod writer;

pub use control::Control;
pub use disposition::Disposition;
pub use flow::Flow;
pub use frame::{FRAME_BYTES_MIN, Frame, FrameType, frame, frame_bytes};
pub use guard::{GuardLimits, walk};
pub use header::ProtocolHeader;
pub use performative::{Performative, put_performative};
pub use sasl::{SaslCode, SaslFrame, put_sasl};
pub use section::{Body, Sections, sections};
pub use state::{Fault, State};
pub use tag::Tag;
pub use transfer::Transfer;

pub(crate) use frame::{put_empty_frame, put_frame, put_frame_head};
pub(crate) use reader::{Fields, Raw, Reader};
pub(crate) use value::{put_value, read_value, text};
pub(crate) use writer::{
    put_binary, put_bool, put_described_list, put_list, put_map, put_null, put_str, put_symbol, put_u32,
};
