//! `outrigger drill`

mod screen;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use outrigger::config::read_file;
use outrigger::config::text::Url;
use outrigger::drill::baseline::Comparison;
use outrigger::drill::matrix::Matrix;
use outrigger::drill::plan::Plan;
use outrigger::drill::runner::{self, Outcome, Stop, today};
use outrigger::drill::{html, junit, markdown};
use tokio::signal::unix::{SignalKind, signal};

use self::screen::Screen;
use super::output::{Paint, fail, fail_as, invalid, print};
use super::{GUARDED, REFUSED, WORSE};

/// Break each dependency on purpose, and write down what still works.
///
/// A plan names the parts of the product, the dependencies and what befalls them. The drill looks whether the product is
/// well, injects one fault at a time through a running proxy, watches, puts everything back, and makes the resiliency
/// matrix of it. However it ends, nothing stays injected.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger drill check drill.yaml
  outrigger drill run drill.yaml
  outrigger drill run drill.yaml --json matrix.json          the matrix, to be committed
  outrigger drill run drill.yaml --baseline matrix.json      in CI: fails where something got worse
  outrigger drill matrix matrix.json --html matrix.html

Exit codes:
  0  as expected
  1  failure: the product did not recover, a proxy was lost; what was injected ends by itself
  2  the drill did not begin: a plan that makes no sense, an unknown service, a product that is not well, another drill
  4  a guard ended the drill
  5  something is worse than in the baseline")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(Run),
    Matrix(Render),
    Check(Check),
}

/// Run a plan.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  outrigger drill run drill.yaml
  outrigger drill run drill.yaml --only payments --json matrix.json
  outrigger drill run drill.yaml --baseline matrix.json")]
struct Run {
    /// The plan.
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    written: Written,
}

/// Write a matrix in another form: one that was saved as JSON, or that of a plan, which is run for it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  outrigger drill matrix matrix.json --html matrix.html")]
struct Render {
    /// A matrix or a report (.json), or a plan.
    #[arg(value_name = "FILE")]
    source: PathBuf,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    written: Written,
}

/// Check a plan, and say what it would do. Nothing is asked and nothing is injected.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  outrigger drill check drill.yaml")]
struct Check {
    /// The plan.
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Where the proxy's admin API listens, instead of where the plan says. May be given more than once.
    #[arg(long, value_name = "URL")]
    admin: Vec<Url>,
    /// Drill only this dependency. May be given more than once.
    #[arg(long, value_name = "DEPENDENCY")]
    only: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Written {
    /// Compare with this matrix; end with 5, and say why, where a cell is worse or missing.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write the matrix as JSON, as it is committed: cells, and nothing that is another number each time. `-` is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write all that was measured as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the matrix as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write a JUnit report: a test for each cell.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a page with pictures that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub fn run(args: Args) -> ExitCode {
    match args.command {
        Command::Run(run) => drill(&run.plan, run.how, &run.written),
        Command::Matrix(render) if is_json(&render.source) => saved(&render.source, &render.how.only, &render.written),
        Command::Matrix(render) => drill(&render.source, render.how, &render.written),
        Command::Check(check) => match load(&check.plan) {
            Ok(plan) => print(table::plan(&plan), ExitCode::SUCCESS),
            Err(code) => code,
        },
    }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn load(path: &Path) -> Result<Plan, ExitCode> {
    Plan::load(path).map_err(|errors| {
        invalid(&errors, read_file(path).ok().as_deref());
        ExitCode::from(REFUSED)
    })
}

fn drill(path: &Path, how: How, written: &Written) -> ExitCode {
    let mut plan = match load(path) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    if !how.admin.is_empty() {
        plan.admins = how.admin;
    }
    // Before anything is broken: a baseline that cannot be read should not be found out afterwards.
    let baseline = match written.baseline.as_deref().map(read).transpose() {
        Ok(baseline) => baseline,
        Err(message) => return fail_as(REFUSED, message),
    };
    let rows = plan.rows.iter().filter(|row| how.only.is_empty() || how.only.contains(&row.dependency)).count();
    let mut screen = Screen::new(rows, plan.probes.iter().map(|probe| probe.name.clone()).collect());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| runtime.block_on(until_stopped(&plan, &how.only, &mut screen)));
    screen.clear();
    let Outcome { matrix, stopped, untold } = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return fail(format_args!("drill: {error}")),
    };
    for admin in untold {
        fail(format_args!(
            "{admin} could not be told that the drill is over; its faults end by themselves within seconds"
        ));
    }
    let Some(stop) = stopped else {
        return finish(&matrix, baseline.as_ref(), &how.only, written);
    };
    if !matrix.rows.is_empty() {
        print(table::page(&matrix, None, Paint::of(&std::io::stdout())), ExitCode::SUCCESS);
        fail("the drill was not finished, so no file was written; above is what was seen");
    }
    match stop {
        Stop::Refused(_) => fail_as(REFUSED, stop),
        Stop::Guard(_) => fail_as(GUARDED, stop),
        Stop::Interrupted => fail_as(130, stop),
        stop => fail(stop),
    }
}

async fn until_stopped(plan: &Plan, only: &[String], screen: &mut Screen) -> std::io::Result<Outcome> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // A terminal that is closed.
    let mut hangup = signal(SignalKind::hangup())?;
    let interrupted = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    Ok(runner::run(plan, only, interrupted, &mut |event| screen.show(&event)).await)
}

fn saved(path: &Path, only: &[String], written: &Written) -> ExitCode {
    let read = read(path).and_then(|matrix| Ok((matrix, written.baseline.as_deref().map(read).transpose()?)));
    let (mut matrix, baseline) = match read {
        Ok(read) => read,
        Err(message) => return fail_as(REFUSED, message),
    };
    if let Some(unknown) = only.iter().find(|name| !matrix.dependencies().contains(&name.as_str())) {
        return fail_as(REFUSED, format_args!("{} has no dependency `{unknown}`", path.display()));
    }
    matrix.rows.retain(|row| only.is_empty() || only.contains(&row.dependency));
    matrix.judge(&today());
    finish(&matrix, baseline.as_ref(), only, written)
}

fn read(path: &Path) -> Result<Matrix, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    Matrix::parse(&text).map_err(|message| format!("{} {message}", path.display()))
}

/// Writes what was asked for, shows the rest, and says whether it is as good as it was.
fn finish(matrix: &Matrix, baseline: Option<&Matrix>, only: &[String], written: &Written) -> ExitCode {
    let comparison = baseline.map(|baseline| Comparison::of(matrix, baseline, only));
    let comparison = comparison.as_ref();
    let forms: [(&Option<PathBuf>, &dyn Fn() -> String); 5] = [
        (&written.json, &|| matrix.bare().json()),
        (&written.report, &|| matrix.json()),
        (&written.markdown, &|| markdown::page(matrix, comparison)),
        (&written.junit, &|| junit::suite(matrix, comparison)),
        (&written.html, &|| html::page(matrix, comparison)),
    ];
    let mut shown = false;
    let mut failed = false;
    for (path, form) in forms {
        match path.as_deref() {
            None => {}
            Some(path) if path == Path::new("-") => {
                shown = true;
                print(form(), ExitCode::SUCCESS);
            }
            Some(path) => {
                if let Err(error) = fs::write(path, form()) {
                    fail(format_args!("{} cannot be written: {error}", path.display()));
                    failed = true;
                }
            }
        }
    }
    if !shown {
        print(table::page(matrix, comparison, Paint::of(&std::io::stdout())), ExitCode::SUCCESS);
    }
    match comparison.map(Comparison::worse) {
        _ if failed => ExitCode::FAILURE,
        Some(worse) if !worse.is_empty() => {
            let cells = if worse.len() == 1 { "1 cell is" } else { &format!("{} cells are", worse.len()) };
            let told: String = worse.iter().map(|change| format!("\n{}", change.explain(matrix))).collect();
            fail_as(WORSE, format_args!("{cells} worse than the baseline\n{}", told.trim_end()))
        }
        _ => ExitCode::SUCCESS,
    }
}
