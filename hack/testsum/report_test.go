package main

import (
	"slices"
	"strings"
	"testing"
)

// TestEveryFailureCounts : a total that hides a failure is worse than none.
func TestEveryFailureCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		reason  string
		events  string
		failed  bool
		passed  int
		fails   []string
		skipped []string
		shown   string
	}{
		"subtests count, their parent does not": {
			reason: "else the same check counts twice",
			events: `{"Action":"run","Package":"p","Test":"A"}
{"Action":"run","Package":"p","Test":"A/x"}
{"Action":"run","Package":"p","Test":"A/y"}
{"Action":"pass","Package":"p","Test":"A/x"}
{"Action":"pass","Package":"p","Test":"A/y"}
{"Action":"pass","Package":"p","Test":"A"}
{"Action":"pass","Package":"p"}`,
			passed: 2,
		},
		"a failed subtest is shown with its output": {
			reason: "the log must be enough to see why",
			events: `{"Action":"run","Package":"p","Test":"A"}
{"Action":"run","Package":"p","Test":"A/x"}
{"Action":"output","Package":"p","Test":"A/x","Output":"want 1, got 2\n"}
{"Action":"fail","Package":"p","Test":"A/x"}
{"Action":"fail","Package":"p","Test":"A"}
{"Action":"fail","Package":"p"}`,
			failed: true, fails: []string{"p A/x"}, shown: "want 1, got 2",
		},
		"a parent that fails by itself counts": {
			reason: "its subtests all passed",
			events: `{"Action":"run","Package":"p","Test":"A"}
{"Action":"run","Package":"p","Test":"A/x"}
{"Action":"pass","Package":"p","Test":"A/x"}
{"Action":"fail","Package":"p","Test":"A"}
{"Action":"fail","Package":"p"}`,
			failed: true, passed: 1, fails: []string{"p A"},
		},
		"a test that never ends counts as failed": {
			reason: "a panic or a deadline ends the process, not the test",
			events: `{"Action":"run","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Test":"A","Output":"panic: oh\n"}
{"Action":"fail","Package":"p"}`,
			failed: true, fails: []string{"p", "p A"}, shown: "panic: oh",
		},
		"a package that does not compile counts": {
			reason: "it has no test to blame",
			events: `{"Action":"build-output","ImportPath":"p","Output":"x.go:1: syntax error\n"}
{"Action":"build-fail","ImportPath":"p"}
{"Action":"fail","Package":"p","FailedBuild":"p"}`,
			failed: true, fails: []string{"p"}, shown: "syntax error",
		},
		"a command that fails without a word counts": {
			reason: "for example a wrong flag", failed: true, fails: []string{"suite"},
		},
		"a skipped test is named with its reason": {
			reason: "skipping silently looks like passing",
			events: `{"Action":"run","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Test":"A","Output":"=== RUN   A\n"}
{"Action":"output","Package":"p","Test":"A","Output":"    a_test.go:3: no server\n"}
{"Action":"skip","Package":"p","Test":"A"}
{"Action":"pass","Package":"p"}`,
			skipped: []string{"p A: a_test.go:3: no server"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out)
			r.read(strings.NewReader(tc.events))
			c := r.finish("suite", 0, tc.failed)
			slices.Sort(c.Failures)
			if c.Passed != tc.passed || c.Failed != len(tc.fails) || !slices.Equal(c.Failures, tc.fails) || !slices.Equal(c.Skipped, tc.skipped) {
				t.Errorf("%s: got %+v", tc.reason, c)
			}
			if !strings.Contains(out.String(), tc.shown) {
				t.Errorf("%s: %q is missing in:\n%s", tc.reason, tc.shown, out.String())
			}
		})
	}
}

// TestFiguresEndTheSuite : what a test measured is in the suite's last line, whether it passed or failed, and nowhere else.
func TestFiguresEndTheSuite(t *testing.T) {
	for _, action := range []string{"pass", "fail"} {
		var out strings.Builder
		r := newReport(&out)
		r.logs = true
		r.read(strings.NewReader(`{"Action":"run","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Test":"A","Output":"    a_test.go:1: figures: 7 worlds\n"}
{"Action":"output","Package":"p","Test":"A","Output":"    a_test.go:2: a remark\n"}
{"Action":"` + action + `","Package":"p","Test":"A"}`))
		if !slices.Equal(r.figures, []string{"7 worlds"}) || !strings.Contains(out.String(), "a remark") {
			t.Errorf("%s: figures %q, shown:\n%s", action, r.figures, out.String())
		}
		if action == "pass" && strings.Contains(out.String(), "figures") {
			t.Errorf("the figures are shown twice:\n%s", out.String())
		}
	}
}
