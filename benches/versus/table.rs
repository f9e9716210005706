//! Rows, as a table for people and as JSON for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::clock::Nanos;

/// One comparison.
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) metric: Metric,
    pub(crate) ours: f64,
    /// Who it is held against, and what that takes; nobody, for the floor itself.
    pub(crate) peer: Option<(&'static str, f64)>,
    /// The primitives alone, in the same unit.
    pub(crate) floor: Option<f64>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Metric {
    /// Things per second of CPU time: more is better.
    Rate,
    /// Microseconds of CPU time: less is better.
    Time,
    /// Bytes: less is better.
    Size,
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Time => "time",
            Self::Size => "size",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Rate => "1/s",
            Self::Time => "µs",
            Self::Size => "bytes",
        }
    }

    /// A measured time in this metric's unit.
    pub(crate) fn of(self, Nanos(nanos): Nanos) -> f64 {
        match self {
            Self::Rate => 1e9 / nanos,
            Self::Time | Self::Size => nanos / 1e3,
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Rate | Self::Size => format!("{value:.0}"),
            Self::Time => format!("{value:.2}"),
        }
    }
}

impl Row {
    /// Ours by theirs, in the unit of the row.
    fn ratio(&self) -> Option<f64> {
        self.peer.map(|(_, peer)| self.ours / peer)
    }
}

pub(crate) fn json(rows: &[Row]) -> String {
    let rounded = |value: f64| (value * 1e3).round() / 1e3;
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "case": row.case,
                "metric": row.metric.name(),
                "unit": row.metric.unit(),
                "ours": rounded(row.ours),
                "peer": row.peer.map(|(_, value)| rounded(value)),
                "peer_name": row.peer.map(|(name, _)| name),
                "ratio": row.ratio().map(rounded),
                "floor": row.floor.map(rounded),
            })
        })
        .collect();
    serde_json::to_string_pretty(&rows).unwrap()
}

pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    let head = ["case", "unit", "ours", "peer", "ratio", "floor", "peer is"];
    line(&mut text, head.map(str::to_owned));
    for row in rows {
        let show = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| row.metric.show(value));
        let ratio = row.ratio().map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        let (name, peer) = row.peer.unzip();
        line(
            &mut text,
            [
                row.case.clone(),
                row.metric.unit().to_owned(),
                show(Some(row.ours)),
                show(peer),
                ratio,
                show(row.floor),
                name.unwrap_or("–").to_owned(),
            ],
        );
    }
    text
}

fn line(text: &mut String, [case, unit, ours, peer, ratio, floor, name]: [String; 7]) {
    writeln!(text, "{case:<52} {unit:>6} {ours:>10} {peer:>10} {ratio:>7} {floor:>10}  {name}").unwrap();
}
