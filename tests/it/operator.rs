//! What an operator asks for: the journal holds what was done, and not what was refused.

use rand::{SeedableRng as _, rngs::StdRng};

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually, seed,
};

fn actions(app: &TestApp) -> usize {
    app.journal().lines.iter().filter(|line| line.kind == "operator").count()
}

#[test]
fn what_is_refused_is_not_journaled() {
    let mut rng = StdRng::seed_from_u64(seed("refused actions"));
    let mut app = TestApp::start(Settings::new());
    for _ in 0..6 {
        assert!(app.client().send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded());
    }
    eventually("the sink has them", || app.file_sink_lines().len() == 6);
    let refused = |app: &TestApp| {
        for arguments in [
            &["redeliver", "audit-file", "--from", "9999"][..],
            &["redeliver", "audit-file", "--from", "5", "--to", "2"],
            &["redeliver", "audit-file", "--from", "0"],
            &["parked", "audit-file", "--drop", "99999"],
            &["parked", "audit-file", "--retry", "3"],
        ] {
            let output = app.run(&[&["sinks"], arguments].concat());
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        }
    };
    refused(&app);
    assert_eq!(actions(&app), 0, "by the running service");
    assert!(app.run(&["sinks", "redeliver", "audit-file", "--from", "2", "--to", "3"]).status.success());
    assert_eq!(actions(&app), 1);
    eventually("they came again", || app.file_sink_lines().len() == 9);
    app.stop();
    refused(&app);
    assert_eq!(actions(&app), 1, "without a service");
    assert!(app.run(&["sinks", "redeliver", "audit-file", "--from", "2"]).status.success());
    assert_eq!(actions(&app), 2);
}
