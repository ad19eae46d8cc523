package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// seen is what the watcher saw last.
type seen struct {
	canary *siskinv1.Canary
	sync   *siskinv1.GitSync
	events []entry
	slack  []notice
	err    error
}

// notice is a Slack message, taken apart.
type notice struct {
	At          time.Time
	Title, Text string
	Severity    string
	Fields      map[string]string
	names       []string // of Fields, in order
}

// String is the message in one line, with what matters first.
func (n notice) String() string {
	_, out, ok := strings.Cut(n.Title, ": ")
	if !ok {
		out = n.Title
	}
	if f := n.Fields; f["Check"] != "" {
		out += " | " + f["Check"] + " " + f["Value"] + " (limit " + f["Limit"] + ")"
	}
	if f := n.Fields; f["Author"] != "" {
		out += " | " + f["Author"] + ": " + f["Change"]
	}
	return out + " | " + n.Text
}

// full shows a message as Slack does.
func (n notice) full() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  #%s  %s  [%s]\n    %s\n", n.At.Format("15:04:05"), channel, n.Title, n.Severity, n.Text)
	for _, name := range n.names {
		fmt.Fprintf(&b, "    %s: %s\n", name, n.Fields[name])
	}
	return b.String()
}

// parseNotice reads the attachments of a message.
func parseNotice(m cluster.SlackMessage) notice {
	n := notice{At: m.Time, Title: unescape(m.Text), Fields: map[string]string{}}
	var raw struct {
		Attachments []struct {
			Text, Color string
			Fields      []struct{ Title, Value string }
		}
	}
	if json.Unmarshal([]byte(m.Raw), &raw) != nil || len(raw.Attachments) == 0 {
		return n
	}
	a := raw.Attachments[0]
	n.Text, n.Severity = unescape(a.Text), a.Color
	for _, f := range a.Fields {
		n.Fields[f.Title] = unescape(f.Value)
		n.names = append(n.names, f.Title)
	}
	return n
}

// unescape undoes Slack's three entities.
func unescape(s string) string {
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(s)
}

// watcher looks at the cluster twice a second.
type watcher struct {
	env   *fixtures.Env
	users *users

	mu   sync.Mutex
	last seen
}

func (w *watcher) run(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// now returns what was seen last.
func (w *watcher) now() seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (w *watcher) look(ctx context.Context) {
	var s seen
	var c siskinv1.Canary
	var g siskinv1.GitSync
	key := client.ObjectKey{Namespace: namespace, Name: app}
	if s.err = client.IgnoreNotFound(w.env.API.Get(ctx, key, &c)); s.err == nil && c.Name != "" {
		s.canary = &c
	}
	if err := client.IgnoreNotFound(w.env.API.Get(ctx, key, &g)); err == nil && g.Name != "" {
		s.sync = &g
	}
	s.events = w.events(ctx)
	w.suspect(ctx)
	messages, err := w.env.SlackMessages(ctx)
	if err == nil {
		for _, m := range messages {
			s.slack = append(s.slack, parseNotice(m))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	w.logSlack(s.slack)
	w.last = s
}

// suspect finds the version whose random errors the users may meet, also when the person committed it.
func (w *watcher) suspect(ctx context.Context) {
	var d appsv1.Deployment
	key := client.ObjectKey{Namespace: namespace, Name: app + "-canary"}
	if err := w.env.API.Get(ctx, key, &d); err != nil || len(d.Spec.Template.Spec.Containers) == 0 {
		return
	}
	c := d.Spec.Template.Spec.Containers[0]
	if !slices.ContainsFunc(slices.Concat(c.Command, c.Args), func(arg string) bool { return arg == "--random-error" || arg == "--random-error=true" }) {
		return
	}
	for _, e := range c.Env {
		if e.Name == "PODINFO_UI_MESSAGE" {
			w.users.suspects(e.Value)
		}
	}
}

// logSlack writes new messages to the file that the person is told of.
func (w *watcher) logSlack(all []notice) {
	if len(all) <= len(w.last.slack) {
		return
	}
	f, err := os.OpenFile(slackLog(w.env.Cluster), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	for _, n := range all[len(w.last.slack):] {
		_, _ = f.WriteString(n.full())
	}
}

func slackLog(c *cluster.Cluster) string { return filepath.Join(c.Dir(), "slack.log") }

// events lists those of the Canary and of the GitSync, oldest first.
func (w *watcher) events(ctx context.Context) []entry {
	var list eventsv1.EventList
	if err := w.env.API.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return w.now().events
	}
	var out []entry
	for _, e := range list.Items {
		if e.Regarding.Kind == "Canary" || e.Regarding.Kind == "GitSync" {
			note, _, _ := strings.Cut(e.Note, " (image ") // the view shows both revisions
			out = append(out, entry{At: e.EventTime.Time, Text: e.Reason + ": " + note, Bad: e.Type == corev1.EventTypeWarning})
		}
	}
	slices.SortStableFunc(out, func(a, b entry) int { return a.At.Compare(b.At) })
	return out
}

// fill fills a view with what was seen.
func (s seen) fill(v *view, now time.Time) {
	v.NextCheck = -1
	v.Events = s.events
	for _, n := range s.slack {
		v.Slack = append(v.Slack, entry{At: n.At, Text: n.String(), Bad: n.Severity == "danger"})
	}
	if s.canary == nil {
		v.Phase, v.Message = "-", "no Canary yet"
		if s.err != nil {
			v.Message = s.err.Error()
		}
		return
	}
	st := s.canary.Status
	v.Phase, v.Message, v.Weight = string(st.Phase), st.Message, int(st.CanaryWeight)
	v.Failed, v.Threshold = int(st.FailedChecks), int(s.canary.Spec.Analysis.Threshold)
	v.Stable, v.Canary = revisionOf(st.Stable), revisionOf(st.Canary)
	if p := st.Step; p != nil {
		v.Step, v.Steps = int(p.Index), int(p.Total)
		if st.Phase == siskinv1.PhaseProgressing && p.Index > 0 && p.EndsAt != nil {
			v.NextCheck = max(p.EndsAt.Sub(now), 0)
		}
	}
	for _, c := range st.Checks {
		v.Checks = append(v.Checks, check{Name: c.Name, Value: c.Value, Limit: c.Limit, Verdict: c.Verdict})
	}
	if st.Phase == siskinv1.PhaseFailed && st.Canary != nil && s.sync != nil {
		v.Note = stillInGit(st.Canary, s.sync)
	}
}

// stillInGit is what to do when git still has what the cluster took back.
func stillInGit(r *siskinv1.RevisionStatus, g *siskinv1.GitSync) string {
	if g.Status.LastAppliedRevision != r.Commit || r.Commit == "" {
		return ""
	}
	return fmt.Sprintf("git still has %s, the cluster not: git revert HEAD && git push", shortCommit(r.Commit))
}

func revisionOf(r *siskinv1.RevisionStatus) revision {
	if r == nil {
		return revision{Name: "-"}
	}
	return revision{Name: r.Revision, Commit: shortCommit(r.Commit), Author: r.Author, Change: r.CommitMessage}
}

// shortCommit makes main@1234567 of main@sha1:1234567….
func shortCommit(c string) string {
	branch, hash, ok := strings.Cut(c, "@sha1:")
	if !ok {
		return c
	}
	return branch + "@" + hash[:min(len(hash), 7)]
}

// rows are the users' view of the versions; the gateway's own row shows only if it has something to tell.
func rows(all []tally, rates map[string]float64) []userRow {
	var out []userRow
	for _, t := range all {
		out = append(out, userRow{
			Version: t.Version, Rate: rates[t.Version], Total: t.Total,
			ServerErrors: t.ServerErrors, ClientErrors: t.ClientErrors, Fault: t.Faults > 0,
		})
	}
	const most = 5
	return out[max(len(out)-most, 0):]
}
