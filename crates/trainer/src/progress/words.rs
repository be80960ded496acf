//! What the displays say of a run, in words.

use ratatui::text::Span;

use super::report::StepReport;
use crate::number::{readable, readable_speed};

/// `1:02:03`.
pub(super) fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The numbers of an interval, each with its name.
pub(super) fn numbers(r: &StepReport) -> [String; 6] {
    [
        format!("epoch {:.2}", r.epoch),
        format!("loss {}", readable(r.loss)),
        format!("lr {}", readable(r.lr)),
        format!("grad {}", readable(r.grad_norm)),
        readable_speed(r.img_per_s),
        format!("wait {:.0}%", 100.0 * r.data_wait),
    ]
}

/// The most memory of a GPU that the process has held, where a GPU computes.
pub(super) fn gpu_memory(r: &StepReport) -> Option<String> {
    r.gpu_peak_reserved_mib.map(|mib| format!("GPU {mib} MiB"))
}

/// The numbers of an evaluation, each with its name.
pub(super) fn metrics(metrics: &[(String, f64)]) -> Vec<String> {
    metrics.iter().map(|(name, value)| format!("{name} {}", readable(*value))).collect()
}

/// Parts two spaces apart, on as many lines as they need at this width; lines after the first are set in.
pub(super) fn fold(parts: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 2 + part.chars().count() <= width => {
                line.push_str("  ");
                line.push_str(part);
            }
            Some(_) => lines.push(format!("  {part}")),
            None => lines.push(part.clone()),
        }
    }
    lines
}

/// As much of a text as fits into so many columns, without what would move the cursor.
pub(super) fn cut(text: &str, width: usize) -> String {
    let mut taken = 0;
    let shown = text.chars().filter(|c| !c.is_control());
    shown
        .take_while(|c| {
            taken += Span::raw(c.encode_utf8(&mut [0; 4]) as &str).width();
            taken <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_gpu_is_told_where_there_is_one() {
        let report = StepReport { gpu_peak_reserved_mib: Some(7000), ..StepReport::default() };
        assert_eq!(gpu_memory(&report).as_deref(), Some("GPU 7000 MiB"));
        assert_eq!(gpu_memory(&StepReport::default()), None);
    }

    #[test]
    fn durations_read_as_clocks() {
        assert_eq!(clock(3723.9), "1:02:03");
    }

    #[test]
    fn parts_stay_whole_when_a_line_is_full() {
        let parts = ["step 40", "val_loss 1.2346", "val_top1 0.5"].map(str::to_owned);
        assert_eq!(fold(&parts, 80), ["step 40  val_loss 1.2346  val_top1 0.5"]);
        assert_eq!(fold(&parts, 24), ["step 40  val_loss 1.2346", "  val_top1 0.5"]);
    }

    #[test]
    fn texts_are_cut_by_columns() {
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("a\n\u{1b}b", 5), "ab");
        assert_eq!(cut("猫猫猫", 5), "猫猫", "each takes two columns");
    }
}
