package report

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// EventName is the name of a notice's Kubernetes event: a notice that is told again has one already.
func EventName(canary *siskinv1.Canary, n plan.Notice) string {
	const most = 253 - 1 - 2*eventDigest
	sum := sha256.Sum256([]byte(string(canary.UID) + "/" + n.Key()))
	return strings.TrimRight(canary.Name[:min(len(canary.Name), most)], "-.") + "." + hex.EncodeToString(sum[:eventDigest])
}

// eventDigest is the length of the digest in an event's name, in bytes.
const eventDigest = 8

// EventType is the type of a notice's event, as Kubernetes has them.
func EventType(n plan.Notice) string {
	if n.Severity == plan.Info {
		return corev1.EventTypeNormal
	}
	return corev1.EventTypeWarning
}

// Event makes the Kubernetes event of a notice; text is its EventText.
func Event(canary *siskinv1.Canary, n plan.Notice, text, instance string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: EventName(canary, n), Namespace: canary.Namespace},
		EventTime:  metav1.NewMicroTime(n.At), ReportingController: siskinv1.FieldManager, ReportingInstance: instance,
		Action: "Reconcile", Reason: n.Reason, Type: EventType(n), Note: Note(text),
		Regarding: corev1.ObjectReference{
			APIVersion: siskinv1.GroupVersion.String(), Kind: "Canary", Namespace: canary.Namespace, Name: canary.Name, UID: canary.UID,
			ResourceVersion: canary.ResourceVersion,
		},
	}
}

// Message makes the message to people's channels of a notice. again tells that an earlier process may have sent it: no
// channel can be asked.
func Message(canary *siskinv1.Canary, z plan.State, n plan.Notice, r siskinv1.RevisionStatus, again bool) notifier.Message {
	now := n.At
	asked, by := "", ""
	if z.Request.Accepted { // what people ask for may bring the same about once more: that is news
		asked = z.Request.Value
	}
	if z.Request.Accepted && z.Request.At.Equal(now) {
		by = z.Request.By
	}
	m := notifier.Message{
		Key:      fmt.Sprintf("%s/%d/%d/%s/%s/%s", canary.UID, n.Rollout, z.Step, n.Revision, n.Reason, asked),
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
	if again {
		add("Told again", "Siskin was restarted: this may have been sent before", false)
	}
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
