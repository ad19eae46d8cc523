package report

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/notifier"
)

// Note makes the note of a Kubernetes event of a text: one line, not longer than the API server takes.
func Note(text string) string { return clip(strings.ReplaceAll(text, "\n", " ")) }

// EventText is the note of the Kubernetes event of a notice: the message, and what the revision is.
func EventText(n plan.Notice, r siskinv1.RevisionStatus) string {
	var extra []string
	if r.Image != "" {
		extra = append(extra, "image "+r.Image)
	}
	if r.Commit != "" {
		extra = append(extra, "commit "+shortCommit(r.Commit))
	}
	if r.Author != "" {
		extra = append(extra, "by "+r.Author)
	}
	text := n.Message
	if len(extra) > 0 {
		text += " (" + strings.Join(extra, ", ") + ")"
	}
	return clip(text)
}

// Message makes the message to people's channels of a notice.
func Message(canary *siskinv1.Canary, z plan.State, n plan.Notice, r siskinv1.RevisionStatus, now time.Time) notifier.Message {
	asked, by := "", ""
	if z.Request.Accepted { // what people ask for may bring the same about once more: that is news
		asked = z.Request.Value
	}
	if z.Request.Accepted && z.Request.At.Equal(now) {
		by = z.Request.By
	}
	m := notifier.Message{
		Key:      fmt.Sprintf("%s/%d/%d/%s/%s/%s", canary.UID, z.Rollout, z.Step, n.Revision, n.Reason, asked),
		Severity: siskinv1.AlertSeverity(n.Severity),
		Title:    fmt.Sprintf("%s/%s: %s", canary.Namespace, canary.Spec.TargetRef.Name, title(n.Reason)),
		Text:     n.Message,
		Canary:   types.NamespacedName{Namespace: canary.Namespace, Name: canary.Name},
		Time:     now,
	}
	add := func(name, value string, short bool) {
		if value != "" {
			m.Fields = append(m.Fields, notifier.Field{Name: name, Value: value, Short: short})
		}
	}
	if n.Result != nil {
		add("Check", n.Result.Name, true)
		add("Value", n.Result.Value, true)
		add("Limit", n.Result.Limit, true)
	}
	add("Asked by", by, true)
	add("Revision", n.Revision, true)
	add("Image", r.Image, true)
	add("Commit", shortCommit(r.Commit), true)
	add("Author", r.Author, true)
	add("Change", r.CommitMessage, false)
	return m
}

// title turns a reason in CamelCase into words.
func title(reason string) string {
	var b strings.Builder
	for i, c := range reason {
		if i > 0 && c >= 'A' && c <= 'Z' {
			b.WriteByte(' ')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// shortCommit shortens the hash of branch@sha1:hash.
func shortCommit(revision string) string {
	head, hash, ok := strings.Cut(revision, "@sha1:")
	if !ok || len(hash) < 12 {
		return revision
	}
	return head + "@" + hash[:12]
}
