//! What the requests of a log's reader do to the checkpoint of its group.

use roadbed::settlement::{Reached, Reading};

use super::peer::{Peer, Served};
use crate::Result;
use crate::stage::Stage;
use crate::tell::same;

const CHECKPOINT: &str = "/v1/logs/l/groups/g/0";

pub(super) async fn cell(cell: &Reading) -> Result {
    let stage = Stage::with_log().await?;
    let served = Served::permissive(&stage).await?;
    let mut peer = Peer::connect(&served).await?;
    let requests: &[(&str, &str)] = match cell.signal {
        "GET of the partition" => &[("GET", "")],
        "PUT of the checkpoint" => &[("PUT", r#"{"next":2}"#)],
        "PUT of the checkpoint, again" => &[("PUT", r#"{"next":2}"#), ("PUT", r#"{"next":2}"#)],
        "PUT of the checkpoint, then of an earlier one" => &[("PUT", r#"{"next":2}"#), ("PUT", r#"{"next":1}"#)],
        "PUT of the checkpoint, then of an earlier one by force" => {
            &[("PUT", r#"{"next":2}"#), ("PUT", r#"{"next":1,"force":true}"#)]
        }
        "PUT of a checkpoint beyond the end" => &[("PUT", r#"{"next":3}"#)],
        other => return Err(format!("nobody knows how to say {other}")),
    };
    let mut told = String::new();
    for (method, body) in requests {
        let path = if *method == "GET" { "/v1/logs/l/0?group=g" } else { CHECKPOINT };
        told = peer.call(method, path, body).await?.told();
    }
    same("the answer", told.as_str(), cell.answer)?;
    stage
        .reaches(match cell.reached {
            Reached::Past => 2,
            Reached::Before => 0,
            Reached::Back => 1,
        })
        .await
}
