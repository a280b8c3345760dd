use super::*;

fn problems(text: &str) -> Vec<String> {
    FaultScript::parse(text).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

fn of_flag(flag: &str) -> Fault {
    let mut script = FaultScript::default();
    script.add_flag(flag).unwrap();
    script.faults.remove(0)
}

#[test]
fn a_file_and_flags_say_the_same() {
    let text = r#"
        [[fault]]
        kind = "drop"
        at = "10s"
        every = "1m"
        times = 3
        count = 20
        percent = 50
        products = ["BTC-USD", "ETH-USD"]
        connection = "oldest"
        name = "holes"

        [[fault]]
        kind = "stall"
        after_ticks = 500
        for = "1500ms"
        also_new = true
    "#;
    let script = FaultScript::parse(text).unwrap();
    let products = ["BTC-USD", "ETH-USD"].map(str::to_owned);
    let drop = Fault {
        name: "holes".into(),
        place: "fault 1 (drop)".into(),
        kind: Kind::Drop { percent: 50 },
        start: Start::At(Duration::from_secs(10)),
        every: Some(Start::At(Duration::from_secs(60))),
        times: Some(3),
        extent: Extent::Count(20),
        products: Some(products.into()),
        connection: Connection::Oldest,
    };
    assert_eq!(script.faults[0], drop);
    let flag = "drop:at=10s,every=1m,times=3,count=20,percent=50,products=BTC-USD+ETH-USD,connection=oldest,name=holes";
    assert_eq!(of_flag(flag), drop);
    let stall = &script.faults[1];
    assert_eq!((&*stall.name, stall.start), ("stall", Start::AfterTicks(500)));
    assert_eq!(
        (&stall.kind, stall.extent),
        (&Kind::Stall { also_new: true }, Extent::For(Duration::from_millis(1_500)))
    );
    assert_eq!(of_flag("stall:after_ticks=500,for=1500ms,also_new=true").kind, stall.kind);
}

#[test]
fn what_is_not_said_has_a_default() {
    let fault = of_flag("disconnect");
    assert_eq!((fault.start, fault.extent), (Start::At(Duration::ZERO), Extent::Once));
    assert_eq!((fault.every, fault.times, fault.products), (None, None, None));
    assert_eq!((fault.kind, fault.connection), (Kind::Disconnect { how: Ending::Close }, Connection::All));
    assert_eq!(of_flag("oversized").kind, Kind::Oversized { bytes: FRAME_BYTES_MAX + 1 });
    assert_eq!(of_flag("mute").extent, Extent::Open);
    assert!(FaultScript::parse("").unwrap().is_empty());
    let mut script = FaultScript::parse("[[fault]]\nkind = \"repeat\"\nlast = 30").unwrap();
    script.add_flag("repeat:last=7").unwrap();
    assert_eq!(script.repeated_max(), 30);
}

#[test]
fn every_problem_is_told_at_once_with_key_value_and_what_is_allowed() {
    let text = r#"
        [[fault]]
        kind = "drop"
        at = "soon"
        count = 0
        percent = 101
        perzent = 5

        [[fault]]
        kind = "dropp"

        [[fault]]
        at = "1s"

        [[fault]]
        kind = "delay"
        for = "5s"
        count = 3
        at = "1s"
        after_ticks = 4

        [[fault]]
        kind = "disconnect"
        how = "gently"
        every = "1s"
        for = "1s"
        products = []

        [[fault]]
        kind = "refuse"
        times = 2

        [[fault]]
        kind = "rest_500"
        every = "1s"
        connection = "oldest"
        name = ""
    "#;
    let kinds = "disconnect, stall, mute, drop, duplicate, reorder, repeat, corrupt, delay, sequence_reset, refuse, \
                 error, slow_accept, oversized, rest_429, rest_500, rest_garbage, rest_slow, rest_gone";
    assert_eq!(
        problems(text),
        [
            "fault 1 (drop): percent is 101, allowed: a number from 1 to 100".to_owned(),
            "fault 1 (drop): count is 0, allowed: a number from 1 to 1000000000".to_owned(),
            "fault 1 (drop): at is \"soon\", allowed: a time from 0s to 30days, such as \"10s\" or \"500ms\"".to_owned(),
            "fault 1 (drop): perzent is not a key of it, allowed: kind, percent, for, count, at, every, times, name, \
             products, connection"
                .to_owned(),
            format!("fault 2: kind is \"dropp\", allowed: {kinds}"),
            format!("fault 3: kind is missing, allowed: {kinds}"),
            "fault 4 (delay): by is missing, allowed: a time such as \"500ms\"".to_owned(),
            "fault 4 (delay): count stands beside for, allowed: one of the two".to_owned(),
            "fault 4 (delay): at stands beside after_ticks, allowed: one of the two".to_owned(),
            "fault 5 (disconnect): how is \"gently\", allowed: close, cut, reset".to_owned(),
            "fault 5 (disconnect): every is \"1s\", allowed: more than for, which is \"1s\"".to_owned(),
            "fault 5 (disconnect): products is [], allowed: a list of products, such as [\"BTC-USD\"]".to_owned(),
            "fault 6 (refuse): times stands without every, allowed: times with every or every_ticks".to_owned(),
            "fault 7 (rest_500): every repeats what does not end, allowed: every with for or count".to_owned(),
            "fault 7 (rest_500): name is \"\", allowed: a text of 1 to 200 characters".to_owned(),
            "fault 7 (rest_500): connection is not a key of it, allowed: kind, for, count, at, every, times, name, \
             products"
                .to_owned(),
        ]
    );
}

#[test]
fn a_file_of_another_form_is_refused() {
    for (text, found) in [
        ("[[fault]\n", "is no TOML"),
        ("seed = 3\n", "has seed, allowed: [[fault]] tables"),
        ("fault = 3\n", "has a fault that is no list"),
        ("fault = [3]\n", "has a fault that is no table"),
    ] {
        let told = problems(text).remove(0);
        assert!(told.contains(found), "{told}");
    }
    let error = FaultScript::default().add_flag("refuse:how=error").unwrap_err();
    assert_eq!(error.to_string(), "fault 1 (refuse): products is missing, allowed: the products to refuse");
    let many = "[[fault]]\nkind = \"drop\"\n".repeat(FAULTS_MAX + 1);
    assert_eq!(problems(&many), ["the script of faults: it has 1001 faults, allowed: up to 1000"]);
}

#[test]
fn a_script_must_fit_the_exchange() {
    let products = BTreeSet::from(["BTC-USD".to_owned()]);
    let mut script = FaultScript::default();
    script.add_flag("drop:products=BTC-USD+X-USD").unwrap();
    script.add_flag("sequence_reset").unwrap();
    let told = script.check(&products, true).unwrap_err().to_string();
    assert_eq!(
        told,
        "fault 1 (drop): products has X-USD, allowed: BTC-USD; fault 2 (sequence_reset): kind is sequence_reset, and a \
         recording is sent as it is, allowed: sequence_reset for generated markets only"
    );
    assert_eq!(script.check(&products, false).unwrap_err().problems.len(), 1);
}

/// What `docs/simulator.md` shows can be used as it stands there.
#[test]
fn the_documented_examples_are_sound() {
    let guide = std::fs::read_to_string(testkit::workspace_root().join("docs/simulator.md")).unwrap();
    let example = guide.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let script = FaultScript::parse(example).unwrap();
    assert_eq!(script.faults.len(), 2);
    let flags = guide.split("--fault ").skip(1).map(|rest| {
        let end = rest.find([' ', '`', '\n', '|']).unwrap_or(rest.len());
        &rest[..end]
    });
    let flags: Vec<&str> = flags.filter(|flag| *flag != "FAULT").collect();
    assert!(flags.len() > 15, "{flags:?}");
    for flag in &flags {
        FaultScript::default().add_flag(flag).unwrap_or_else(|error| panic!("{flag}: {error}"));
    }
    let hole = script.faults[1].clone();
    assert_eq!(
        Fault { place: hole.place.clone(), ..of_flag(flags.iter().find(|f| f.contains("hole")).unwrap()) },
        hole
    );
    for (kind, ..) in KINDS {
        assert!(guide.contains(&format!("`{kind}`")), "{kind} is not documented");
    }
}
