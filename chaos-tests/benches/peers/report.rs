//! Tables, in Markdown, so that they can be kept as they are.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::process::Command;

use chaos_tests::proxies::Proxy;

use crate::Result;
use crate::args::Args;
use crate::memory::{self, STEPS};
use crate::numbers::Spread;
use crate::rounds::{Outcome, Turn};
use crate::workload::Workload;

/// Says what runs where; gives the proxies that are there.
pub fn opening(args: &Args, target: &Path) -> Result<Vec<Proxy>> {
    let mut out = stdout().lock();
    let system = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    writeln!(out, "Linux {}, {model}, load before the start {}", system.trim(), load.split(' ').next().unwrap_or("?"))?;
    let mut present = Vec::new();
    for proxy in &args.proxies {
        match proxy.program(target) {
            Some(program) => {
                writeln!(out, "{proxy}: {}", version(*proxy, &program))?;
                present.push(*proxy);
            }
            None => writeln!(out, "{proxy}: NOT INSTALLED, left out; see chaos-tests/bench-peers.sh")?,
        }
    }
    if args.defer_accept {
        writeln!(out, "TCP_DEFER_ACCEPT is on, but not at the floor")?;
    }
    if args.quick {
        writeln!(out, "quick: enough to see that it works, too little to compare by")?;
    }
    Ok(present)
}

fn version(proxy: Proxy, program: &Path) -> String {
    let flag = match proxy {
        Proxy::Floor => return "examples/floor.rs".into(),
        Proxy::Outrigger | Proxy::OutriggerTwo | Proxy::Envoy | Proxy::Toxiproxy => "--version",
        Proxy::Haproxy | Proxy::Nginx => "-v",
    };
    let Ok(output) = Command::new(program).arg(flag).output() else { return "does not run".into() };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let line = said.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("says no version");
    line.replace(&program.display().to_string(), "").trim().to_owned()
}

/// One line that overwrites itself, for who watches.
pub fn progress(words: &str) -> Result<()> {
    let mut err = stderr().lock();
    if err.is_terminal() {
        write!(err, "\r\x1b[K{words}")?;
        err.flush()?;
    }
    Ok(())
}

pub fn rounds(outcomes: &[Outcome]) -> Result<()> {
    let mut out = stdout().lock();
    for outcome in outcomes {
        let workload = outcome.workload;
        writeln!(out, "\n### {}: {}\n", workload.name(), workload.says())?;
        costs(&mut out, outcome)?;
        writeln!(out)?;
        ratios(&mut out, outcome)?;
    }
    Ok(())
}

fn costs(out: &mut impl Write, outcome: &Outcome) -> Result<()> {
    let timed = outcome.workload == Workload::Rate;
    if !outcome.quiet {
        writeln!(out, "EVERY ROUND WAS DISTURBED by other programs on these cores: not to be quoted\n")?;
    } else if outcome.thrown > 0 {
        let kept = outcome.turns.iter().filter(|t| t.proxy == outcome.turns[0].proxy).count();
        writeln!(out, "{kept} rounds; {} more were disturbed by other programs and thrown out\n", outcome.thrown)?;
    }
    let (columns, rule) = if timed { (" p50 µs | p99 µs |", "---|---|") } else { ("", "") };
    writeln!(out, "| | CPU µs per request | requests/s | core busy | core waited for | dialled per 1,000 |{columns}")?;
    writeln!(out, "|---|---|---|---|---|---|{rule}")?;
    for proxy in takers(outcome) {
        let turns = || outcome.turns.iter().filter(|t| t.proxy == proxy);
        let spread = |of: fn(&Turn) -> f64| Spread::of(turns().map(of));
        let Some((cpu, rate)) = spread(|t| t.cpu).zip(spread(|t| t.rate)) else { continue };
        let busy = spread(|t| t.busy * 100.0).map_or(0.0, |s| s.median);
        let dialled = spread(|t| t.dialled).map_or(0.0, |s| s.median);
        let waited = spread(|t| t.waited * 100.0).map_or(0.0, |s| s.median);
        write!(out, "| {proxy} | {} | {:.0} | {busy:.0} % | {waited:.1} % | {dialled:.1} |", cpu.show(1), rate.median)?;
        if timed {
            let latency = |of: fn((f64, f64)) -> f64| Spread::of(turns().filter_map(|t| t.latency).map(of));
            let Some((half, most)) = latency(|l| l.0).zip(latency(|l| l.1)) else { continue };
            write!(out, " {} | {} |", half.show(0), most.show(0))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Each row's CPU per request over each column's, formed inside a round.
fn ratios(out: &mut impl Write, outcome: &Outcome) -> Result<()> {
    let takers = takers(outcome);
    let columns = || takers.iter().filter(|p| **p != Proxy::Outrigger);
    let names = columns().map(|p| format!(" ÷ {p} |")).collect::<String>();
    writeln!(out, "| CPU |{names}\n|---|{}", "---|".repeat(columns().count()))?;
    for proxy in &takers {
        write!(out, "| {proxy} |")?;
        for other in columns() {
            match ratio(outcome, *proxy, *other).filter(|_| proxy != other) {
                Some(spread) => write!(out, " {} |", spread.show(2))?,
                None => write!(out, " |")?,
            }
        }
        writeln!(out)?;
    }
    for (other, goal) in outcome.workload.goals() {
        let Some(spread) = ratio(outcome, Proxy::Outrigger, *other) else { continue };
        let verdict = match (outcome.quiet, spread.median <= *goal) {
            (false, _) => "of disturbed rounds, which say nothing",
            (true, true) => "met",
            (true, false) => "MISSED",
        };
        writeln!(out, "\nGoal: at most {goal} × {other}: {:.2}, {verdict}", spread.median)?;
    }
    Ok(())
}

fn ratio(outcome: &Outcome, one: Proxy, other: Proxy) -> Option<Spread> {
    let of = |proxy| outcome.turns.iter().filter(move |t| t.proxy == proxy);
    let pairs = of(one).filter_map(|a| of(other).find(|b| b.round == a.round).map(|b| a.cpu / b.cpu));
    Spread::of(pairs)
}

fn takers(outcome: &Outcome) -> Vec<Proxy> {
    Proxy::ALL.into_iter().filter(|p| outcome.turns.iter().any(|t| t.proxy == *p)).collect()
}

pub fn memory(outcomes: &[memory::Outcome]) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "\n### idle: keep-alive connections that carried one request each, then nothing\n")?;
    let steps = STEPS.map(|n| format!(" peak MiB at {n} |")).concat();
    writeln!(out, "| |{steps} KiB per idle connection |\n|---|{}---|", "---|".repeat(STEPS.len()))?;
    for memory::Outcome { proxy, memory } in outcomes {
        write!(out, "| {proxy} |")?;
        for at in memory {
            match at {
                Some(at) => write!(out, " {:.1} |", at.peak as f64 / 1024.0)?,
                None => write!(out, " too few descriptors |")?,
            }
        }
        // Peaks hold what starting took; what connections take is the growth of what is resident.
        match (memory[0], memory[STEPS.len() - 1]) {
            (Some(base), Some(full)) => {
                let growth = full.resident.saturating_sub(base.resident) as f64;
                writeln!(out, " {:.2} |", growth / (STEPS[STEPS.len() - 1] - STEPS[0]) as f64)?;
            }
            _ => writeln!(out, " |")?,
        }
    }
    Ok(())
}
