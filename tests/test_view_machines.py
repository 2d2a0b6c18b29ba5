import dataclasses
import json
from xml.etree import ElementTree as ET

import pytest
import samples

from trainrecipe.check import built_in
from trainrecipe.finding import Evidence, Place, Ruling, Severity
from trainrecipe.view import junit, phrases, sarif

HOSTILE = "</script><img onerror=x> ]]> &amp; [/red] \"' 👩‍🔬 \x00\x0b\x1b\x9f \ufffe \udc80"


def hostile(folder):
    ruling = Ruling.found(Severity.ERROR, HOSTILE, expected=HOSTILE, observed=HOSTILE, fix=HOSTILE, causes=(HOSTILE,))
    place = Place(f"{folder}/{HOSTILE}", 3, HOSTILE, HOSTILE)
    bad = samples.simple(check=HOSTILE, title=HOSTILE, ruling=ruling, why=HOSTILE, evidence=Evidence({}, place))
    return samples.record(
        folder,
        (dataclasses.replace(bad, related=(bad,)), dataclasses.replace(bad, waived=HOSTILE, check="other")),
        script=HOSTILE,
        started=HOSTILE,
        status=HOSTILE,
        passed=(samples.passed("p" + HOSTILE, HOSTILE),),
        skipped=(samples.skipped("s" + HOSTILE, HOSTILE),),
    )


def run_of(record):
    text = sarif.dumps(record)
    text.encode("utf-8")
    log = json.loads(text)
    assert log["version"] == "2.1.0"
    assert len(log["runs"]) == 1
    return log["runs"][0]


@pytest.mark.parametrize("make", [samples.full, hostile])
def test_sarif_keeps_its_own_rules(tmp_path, make):
    run = run_of(make(tmp_path))
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert {check.id for check in built_in()} <= {rule["id"] for rule in rules}
    for rule in rules:
        assert rule["shortDescription"]["text"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        for location in (*result["locations"], *result.get("relatedLocations", ())):
            physical = location["physicalLocation"]
            artifact = physical["artifactLocation"]
            assert artifact.get("uriBaseId", "SRCROOT") in run["originalUriBaseIds"]
            assert set(artifact["uri"]).isdisjoint('<> "')
            assert physical.get("region", {"startLine": 1})["startLine"] >= 1
    assert run["originalUriBaseIds"]["SRCROOT"]["uri"].endswith("/")
    for notice in run["invocations"][0]["toolExecutionNotifications"]:
        assert notice["message"]["text"]


def test_sarif_says_what_the_record_says(tmp_path):
    record = samples.full(tmp_path)
    results = run_of(record)["results"]
    assert [r["ruleId"] for r in results] == [f.check for f in record.findings]
    assert [r["level"] for r in results] == ["error", "error", "warning", "warning", "note", "warning"]
    first = results[0]["locations"][0]["physicalLocation"]
    assert first["artifactLocation"] == {"uri": "train.py", "uriBaseId": "SRCROOT"}
    assert first["region"] == {"startLine": 24, "snippet": {"text": "loss = F.cross_entropy(net(x), y)"}}
    assert "loss-floor" in results[0]["relatedLocations"][0]["message"]["text"]
    assert "region" not in results[4]["locations"][0]["physicalLocation"]
    assert [r.get("suppressions") for r in results[:-1]] == [None] * 5
    assert results[-1]["suppressions"] == [{"kind": "inSource", "justification": "the set is stored in random order"}]


def test_sarif_fingerprints_outlive_moved_lines_and_tell_lines_apart(tmp_path):
    path = samples.script(tmp_path)
    here = samples.place(path, "F.cross_entropy")
    moved, other = dataclasses.replace(here, line=99), samples.place(path, "loss.backward")
    found = [samples.simple(evidence=Evidence({}, place)) for place in (here, moved, other)]
    a, b, c = (r["partialFingerprints"] for r in run_of(samples.record(tmp_path, found))["results"])
    assert a == b != c


def test_sarif_of_a_failed_script_says_so(tmp_path):
    record = samples.record(tmp_path, status="failed", exit_code=1)
    invocation = run_of(record)["invocations"][0]
    assert invocation["executionSuccessful"] is False
    assert invocation["exitCode"] == 1
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == phrases.ending(record)


def cases(record, floor=Severity.WARNING):
    text = junit.dumps(record, floor)
    assert text.startswith('<?xml version="1.0" encoding="utf-8"?>')
    root = ET.fromstring(text)
    (suite,) = root
    assert int(suite.get("tests")) == len(suite)
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))
    assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped"))
    assert int(suite.get("errors")) == len(suite.findall("testcase/error"))
    names = [case.get("name") for case in suite]
    assert len(names) == len(set(names))
    return {case.get("name"): case for case in suite}


@pytest.mark.parametrize("floor", list(Severity))
def test_junit_fails_exactly_what_the_floor_says(tmp_path, floor):
    record = samples.full(tmp_path)
    failed = {name for name, case in cases(record, floor).items() if case.find("failure") is not None}
    assert failed == {f.check for f in record.findings if f.counts(floor)}
    assert bool(failed) == record.fails(floor)


def test_junit_has_one_case_per_check(tmp_path):
    record = samples.full(tmp_path)
    every = cases(record)
    related = {other.check for f in record.findings for other in f.related}
    assert set(every) == {f.check for f in (*record.findings, *record.passed, *record.skipped)} | related
    assert every["no-shuffle"].find("skipped").get("message") == "waived: the set is stored in random order"
    assert every["peeking"].find("skipped").get("message") == "The outputs have no time axis."
    assert "part of softmax-before-cross-entropy" in every["loss-floor"].find("skipped").get("message")
    assert [part.tag for part in every["zero-grad"]] == ["system-out"]
    assert "log prior" in every["final-bias"].find("system-out").text
    failure = every["softmax-before-cross-entropy"].find("failure")
    assert "train.py:24" in failure.text
    assert "observed: 64 of 64" in failure.text
    assert every["batch-mixing"].get("line") == "16"


def test_junit_survives_hostile_text(tmp_path):
    every = cases(hostile(tmp_path))
    case = every[phrases.clean(HOSTILE)]
    assert case.find("failure").get("message") == phrases.clean(HOSTILE)


def test_junit_shows_a_script_that_failed(tmp_path):
    every = cases(samples.record(tmp_path, status="broken"))
    assert "our fault" in every["script"].find("error").get("message")


def test_several_answers_of_one_check_are_one_case(tmp_path):
    path = samples.script(tmp_path)
    here = samples.simple(evidence=Evidence({}, samples.place(path, "loss.backward")))
    there = samples.simple(evidence=Evidence({}, samples.place(path, "scores.append")))
    record = samples.record(tmp_path, (here, there), passed=(samples.passed("no-shuffle", "Held elsewhere."),))
    failure = cases(record)["no-shuffle"].find("failure")
    assert "train.py:25" in failure.text
    assert "train.py:34" in failure.text
