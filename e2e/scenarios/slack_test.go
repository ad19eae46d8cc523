package scenarios

import (
	"context"
	"fmt"
	"html"
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// commit is what GitSync writes on what it applies.
const commit = `  annotations:
    siskin.dev/git-revision: main@sha1:0123456789abcdef0123456789abcdef01234567
    siskin.dev/git-author: Ann
    siskin.dev/git-message: "shop: a faster basket"
`

// slack is a bot with a token in a Secret, and two incoming webhooks that sign with different names.
func slack(s *fixtures.Story) string {
	return `apiVersion: v1
kind: Secret
metadata: {name: slack}
stringData: {token: xoxb-test}
---
apiVersion: siskin.dev/v1
kind: AlertProvider
metadata: {name: bot}
spec: {type: slack, channel: releases, address: "` + s.SlackURLInCluster() + `", secretRef: {name: slack}}
---
apiVersion: siskin.dev/v1
kind: AlertProvider
metadata: {name: team}
spec: {type: slack, username: to-team, address: "` + s.SlackWebhookURLInCluster() + `"}
---
apiVersion: siskin.dev/v1
kind: AlertProvider
metadata: {name: duty}
spec: {type: slack, username: to-duty, address: "` + s.SlackWebhookURLInCluster() + `"}
`
}

// alert of a Canary.
func alert(provider, severity string) string {
	return fmt.Sprintf("\n    - {name: %[1]s, severity: %[2]s, providerRef: {name: %[1]s}}", provider, severity)
}

// TestSlack : people read in Slack that a version starts, waits for them, is promoted, and why another was taken back; those who
// asked only for errors read only that.
func TestSlack(t *testing.T) {
	s, r := story(t, fixtures.App{})
	gate := s.NS + "/confirm-promotion"
	r.Set(gate, fixtures.No)
	s.Apply(slack(s))
	s.Start(s.App.Canary(gated(s, r, "confirm-promotion") + `
    metrics:
    - {name: request-success-rate, interval: 30s, thresholdRange: {min: 99}}
    alerts:` + alert("team", "info") + alert("duty", "error")))
	s.Users(50)

	s.App.Version = "1.1.0"
	s.Apply(strings.Replace(s.App.Deployment(), "spec:\n", commit+"spec:\n", 1))
	told(s, "start", "to-team", "New revision", "1.1.0", "main@0123456789ab", "Ann", "shop: a faster basket")
	told(s, "waiting", "to-team", "Waiting for approval", "confirm-promotion")
	r.Set(gate, fixtures.Yes)
	told(s, "promotion", "to-team", "Promoted", "1.1.0")
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)

	s.App.Version, s.App.FailRatio = "1.2.0", "0.5"
	s.Apply(strings.Replace(s.App.Deployment(), "spec:\n", strings.ReplaceAll(commit, "0123456789", "9876543210")+"spec:\n", 1))
	begun(s, 1)
	c := endsAs(s, siskinv1.PhaseFailed, time.Minute)
	for _, whom := range []string{"to-team", "to-duty"} {
		told(s, "rollback "+whom, whom, "Rolling back", "request-success-rate", "Value", ">= 99", c.Status.Rejected, ":1.2.0", "main@9876543210ab")
	}
	duty := messages(s.Context(), s, "to-duty")
	if len(duty) != 1 {
		t.Errorf("those who asked for errors alone were told %d times: %q", len(duty), duty)
	}
	seen := map[string]bool{}
	for _, m := range messages(s.Context(), s, "to-team") {
		if seen[m] {
			t.Errorf("told twice: %s", m)
		}
		seen[m] = true
	}
}

// TestDeadSlack : a Slack that hangs, and then one that answers with errors, delays no rollout; when it is back, it is told again.
func TestDeadSlack(t *testing.T) {
	s, _ := story(t, fixtures.App{})
	s.Apply(slack(s))
	s.Start(s.App.Canary(brisk + "\n    alerts:" + alert("bot", "info")))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.SlackDown(ctx, false); err != nil {
			t.Error(err)
		}
	})
	for i, fail := range []func() error{
		func() error { return s.SlackHang(t.Context()) },
		func() error { return s.SlackDown(t.Context(), true) },
	} {
		if err := fail(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.Release(fmt.Sprintf("1.%d.0", i+1))
		begun(s, int64(i))
		endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
		if took := time.Since(began); took > 45*time.Second {
			t.Errorf("two steps of 3 s took %s while Slack was dead", took)
		}
	}
	if err := s.SlackDown(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	s.Release("1.3.0")
	told(s, "promotion by the bot", "chat.postMessage", "Promoted", "1.3.0")
}

// told waits for a message about the story with all these words: what could not be sent is tried again after a minute at most.
func told(s *fixtures.Story, what, whom string, words ...string) {
	s.Helper()
	cluster.Eventually(s, 90*time.Second, func(ctx context.Context) error {
		all := messages(ctx, s, whom)
	next:
		for _, m := range all {
			for _, w := range words {
				if !strings.Contains(strings.ToLower(m), strings.ToLower(w)) {
					continue next
				}
			}
			return nil
		}
		return fmt.Errorf("%s was not told with %q; told: %s", what, words, strings.Join(all, "\n"))
	})
}

// messages that Slack got about the story, with a word that tells whom they were for.
func messages(ctx context.Context, s *fixtures.Story, whom string) []string {
	s.Helper()
	all, err := s.SlackMessages(ctx)
	if err != nil {
		return nil // told says what is missing
	}
	var out []string
	for _, m := range all {
		text := m.Method + " " + m.Text + " " + m.Raw
		text = html.UnescapeString(strings.ReplaceAll(text, `\u0026`, "&")) // Slack wants > as &gt;, and JSON writes that so
		if strings.Contains(text, whom) && strings.Contains(text, s.NS+"/") {
			out = append(out, text)
		}
	}
	return out
}

// TestPeopleInSlack : what a person asked for is told in their channel, with who it was; each pause anew.
func TestPeopleInSlack(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	s.Apply(slack(s))
	s.Start(s.App.Canary(slow + "\n    alerts:" + alert("team", "info")))
	s.Release("1.1.0")
	s.Weight(20, 40*time.Second)
	for _, request := range []string{"pause@1", "resume@2", "pause@3", "promote@4"} {
		s.Accepted(request)
	}
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	s.Accepted("rollback@5")
	for _, words := range [][]string{
		{"Paused", "ann paused the rollout of revision", "80/20"},
		{"Resumed", "ann resumed"},
		{"Promotion requested", "ann asked for the promotion"},
		{"Direct rollout", "ann asked for revision", ":1.0.0"},
	} {
		told(s, words[0], "to-team", append(words, "Asked by", `"value":"ann"`)...)
	}
	paused := 0
	for _, m := range messages(t.Context(), s, "to-team") {
		if strings.Contains(m, "ann paused the rollout") {
			paused++
		}
	}
	if paused != 2 {
		t.Errorf("two pauses were told %d times", paused)
	}
}
