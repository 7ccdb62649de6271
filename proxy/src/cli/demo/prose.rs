//! What the demo says around the table.

use std::time::Duration;

use super::super::availability::{Sum, kinds, percent};
use super::fault::{Fault, REQUEST};
use super::fleet::Fleet;
use super::measure::{Failed, Tally};
use super::{INSTANCES, Stage};

/// What is running, and how it is measured.
pub(crate) fn opening(stage: &Stage, fleet: &Fleet, notes: &[String]) -> String {
    let instances = fleet.members.iter().map(Vec::len).sum::<usize>();
    let layout = if fleet.processes() == instances {
        format!("Each of the {instances} instances is a process of its own.")
    } else {
        let processes = fleet.processes();
        format!("{processes} processes stand for the {instances} instances, each for one instance of several services.")
    };
    let notes: String = notes.iter().map(|note| format!("{note}\n")).collect();
    format!(
        "{notes}\
         {} services with {INSTANCES} instances each are registered at http://{}.\n\
         {layout}\n\
         The proxy in front of them is `outrigger run`, at {}.\n\
         \n\
         One instance of each service is flaky. By design {:.2} % of direct calls succeed; of the others most get a\n\
         503, a third a reset connection, one in a hundred no answer. Whether an instance fails a request depends on\n\
         the seed ({}), service, instance and the request's number: both ways of calling meet the same faults.\n\
         A user request calls every service it needs at once, each once, and waits up to 1 s. The direct\n\
         client takes any instance that the registry lists. No client retries.\n",
        fleet.members.len(),
        stage.registry,
        stage.listen,
        stage.model.availability() * 100.0,
        stage.model.seed,
    )
}

/// What the numbers in the table are, and what failed.
pub(crate) fn foot(direct: &Tally, proxied: &Tally, took: Duration) -> String {
    format!(
        "\nA is the availability of one direct call, measured over all direct calls up to and with the row; at the end\n\
         {:.4} % of {} calls. In brackets: 95 % intervals. A user request fails if any of its calls does.\n\
         Failed calls, directly:          {}\n\
         Failed calls, through Outrigger: {}\n\
         The table took {:.1} s.",
        direct.per_call() * 100.0,
        direct.calls,
        failures(direct),
        failures(proxied),
        took.as_secs_f64(),
    )
}

/// What the proxy says it did.
pub(crate) fn accounts(sum: &Sum) -> String {
    let share = |part: u64| percent((sum.requests > 0).then(|| part as f64 / sum.requests as f64));
    format!(
        "By the proxy's own account, its warm-up included: of {} calls {} were good at the first attempt, {} were answered.\n\
         Rescued by: {}. Lost to: {}.",
        sum.requests,
        share(sum.first_good),
        share(sum.answered),
        kinds(&sum.rescued),
        kinds(&sum.lost),
    )
}

/// What to try while everything is still running.
pub(crate) fn closing(stage: &Stage, fleet: &Fleet) -> String {
    let Stage { model, listen, admin, registry, .. } = stage;
    let orders = &stage.services[0];
    let flaky = model.flaky(orders);
    let member = fleet.members[0][flaky as usize];
    let failing = (0..1_000_000).find(|number| model.fault(orders, flaky, *number) == Some(Fault::Unavailable));
    let failing = format!("{REQUEST}: {}", failing.unwrap_or_default());
    let lines = [
        (format!("curl -H 'Host: {orders}' http://{listen}/"), "a service by its name"),
        (format!("http_proxy=http://{listen} curl http://{orders}/"), "the same, as a forward proxy"),
        (format!("curl -i -H '{failing}' http://{}/", member.address), "a request that this instance fails,"),
        (format!("curl -i -H '{failing}' -H 'Host: {orders}' http://{listen}/"), "and the proxy does not"),
        (format!("kill -9 {}", member.pid), "end this instance"),
        (format!("outrigger availability --admin http://{admin}"), "what the proxy did for each service"),
        (format!("outrigger explain --admin http://{admin}"), "requests that can be explained"),
        (format!("curl http://{admin}/api/v1/services"), "the proxy's pools"),
        (format!("curl http://{admin}/metrics"), "and its metrics"),
        (format!("curl http://{registry}/v1/catalog/services"), "the registry's catalog"),
        (format!("curl http://{registry}/v1/health/service/{orders}"), "and what it knows of one service"),
    ];
    let width = lines.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    let lines: String = lines.iter().map(|(command, what)| format!("  {command:width$}  {what}\n")).collect();
    format!("\nStill up, with light traffic. Try:\n{lines}Ctrl-C ends everything.\n")
}

fn failures(tally: &Tally) -> String {
    let Failed { status, connection, timeout, wrong } = tally.failed;
    let all = tally.calls - tally.calls_ok;
    let mut text = format!("{all} of {}", tally.calls);
    if all > 0 {
        text += &format!(" ({status} answered with an error, {connection} cut off, {timeout} not answered within 1 s");
        if wrong > 0 {
            text += &format!(", {wrong} answered by another service");
        }
        text.push(')');
    }
    text
}
