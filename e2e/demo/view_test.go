package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/siskin-dev/siskin/e2e/cluster"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func sample() view {
	at := time.Date(2026, 11, 20, 17, 0, 42, 0, time.UTC)
	return view{
		Up:    99 * time.Second,
		Story: []chapter{{"v1 serves", "ok"}, {"v2 good promoted in 59 s", "ok"}, {"v3 bad", "now"}},
		Phase: "Progressing", Message: "step 2 of 5: 20% of the traffic goes to revision podinfo-be389c4fec",
		Weight: 20, Step: 2, Steps: 5, NextCheck: 7 * time.Second, Threshold: 1,
		Stable: revision{"podinfo-c878ceb48b", "main@2166e31", "Dana Dev", "Greet the users with v2"},
		Canary: revision{"podinfo-be389c4fec", "main@4086f00", "Dana Dev", "Greet the users with v3, and switch random errors on"},
		Checks: []check{{"request-success-rate", "99.123456789", ">= 99", "pass"}, {"request-duration", "21.7", "<= 500", "fail"}},
		Users: []userRow{
			{Version: "v1", Total: 2290}, {Version: "v2 good", Rate: 160.2, Total: 2124}, {Version: "v3 bad", Rate: 39.8, Total: 53, ServerErrors: 8, ClientErrors: 15},
		},
		Note: "git still has main@4086f00, the cluster not: git revert HEAD && git push",
		Events: []entry{
			{at, "NewRevision: new revision podinfo-be389c4fec detected: starting the canary", false},
			{at.Add(time.Second), "RollingBack: rolling back revision podinfo-be389c4fec: metric request-success-rate is 86.98", true},
		},
		Slack:  []entry{{at, "New revision | Dana Dev: Greet the users with v3, and switch random errors on", false}},
		Footer: "Return: how to look behind the scenes   Ctrl-C: stop",
	}
}

func TestTheViewIsAsReviewed(t *testing.T) {
	empty := view{Phase: "-", Message: "no Canary yet", NextCheck: -1}
	for name, c := range map[string]struct {
		v             view
		width, height int
	}{
		"80x24": {sample(), 80, 24}, "120x40": {sample(), 120, 40}, "empty": {empty, 80, 24},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, r := range render(c.v, c.width, c.height) {
				b.WriteString(strings.TrimRight(r.text(c.width, false), " ") + "\n")
			}
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheViewFitsEveryTerminal(t *testing.T) {
	v := sample()
	for range 30 {
		v.Events, v.Slack = append(v.Events, v.Events[0]), append(v.Slack, v.Slack[0])
	}
	for _, size := range [][2]int{{20, 5}, {40, 10}, {79, 23}, {80, 24}, {200, 60}} {
		lines := render(v, size[0], size[1])
		if len(lines) > size[1] {
			t.Errorf("%v: %d rows", size, len(lines))
		}
		for _, r := range lines {
			if n := utf8.RuneCountInString(r.text(size[0], false)); n > size[0] {
				t.Errorf("%v: %d columns: %q", size, n, r.text(size[0], false))
			}
		}
	}
}

func TestColoursDoNotCountAsColumns(t *testing.T) {
	got := row{{green, "pass"}, {red, "fail"}}.text(6, true)
	if want := "\x1b[32mpass\x1b[0m\x1b[31mf…\x1b[0m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWithoutATerminalEachChangeIsOneLine(t *testing.T) {
	c, now := &changes{}, time.Date(2026, 11, 20, 17, 0, 0, 0, time.UTC)
	v := sample()
	first := c.of(v, now)
	want := []string{
		"event    NewRevision: new revision podinfo-be389c4fec detected: starting the canary",
		"event    RollingBack: rolling back revision podinfo-be389c4fec: metric request-success-rate is 86.98",
		"phase    Progressing: step 2 of 5: 20% of the traffic goes to revision podinfo-be389c4fec",
		"weight   20 % at the canary, step 2/5",
		"checks   request-success-rate 99.123456789 (limit >= 99) pass, request-duration 21.7 (limit <= 500) fail",
		"slack    New revision | Dana Dev: Greet the users with v3, and switch random errors on",
		"note     git still has main@4086f00, the cluster not: git revert HEAD && git push",
		"users    v1 0.0/s (2290, 0 server errors), v2 good 160.2/s (2124, 0 server errors), v3 bad 39.8/s (53, 8 server errors, 15 answers 4xx)",
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	v.Users[1].Total++
	if again := c.of(v, now.Add(time.Second)); len(again) > 0 {
		t.Errorf("told twice: %q", again)
	}
	v.Phase, v.Message, v.Weight = "Failed", "taken back", 0
	if diff := cmp.Diff([]string{"phase    Failed: taken back", "weight   0 % at the canary, step 2/5"}, c.of(v, now.Add(2*time.Second))); diff != "" {
		t.Error(diff)
	}
}

func TestASlackMessageIsTakenApart(t *testing.T) {
	n := parseNotice(cluster.SlackMessage{
		Text: "demo/podinfo: Rolling back",
		Raw: `{"channel":"releases","attachments":[{"color":"danger","text":"value &lt; limit","fields":[
			{"title":"Check","value":"request-success-rate"},{"title":"Value","value":"86.98"},{"title":"Limit","value":"&gt;= 99"},
			{"title":"Author","value":"Dana Dev"},{"title":"Change","value":"Greet"}]}]}`,
	})
	if want := "Rolling back | request-success-rate 86.98 (limit >= 99) | Dana Dev: Greet | value < limit"; n.String() != want || n.Severity != "danger" {
		t.Errorf("got %q %q, want %q", n.Severity, n.String(), want)
	}
	if got := parseNotice(cluster.SlackMessage{Text: "hello", Raw: "no JSON"}); got.Title != "hello" {
		t.Errorf("got %+v", got)
	}
}
