package observe

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// requestLimit bounds a request and a name in bytes: status echoes them, and an annotation may be very long.
const requestLimit = 512

// requestOf reads what a person asks for, and who it was.
func requestOf(c *siskinv1.Canary) (request, by string) {
	return bounded(c.Annotations[siskinv1.RequestAnnotation]), bounded(c.Annotations[siskinv1.RequestedByAnnotation])
}

// Asked tells whether a person asks for something that no answer in status is to.
func Asked(c *siskinv1.Canary) bool {
	request, _ := requestOf(c)
	return request != "" && (c.Status.Request == nil || c.Status.Request.Value != request)
}

// bounded makes one line of a text, of requestLimit bytes at most.
func bounded(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.ToValidUTF8(text[:min(len(text), requestLimit)], "")
}

// kept lists the revisions of which a snapshot exists, newest first. While somebody asks for something, those that cannot be run are
// left out: of a rollout that ended before all that its pods read was copied. Else that is not worth reading all of them.
func (w *World) kept(asked bool) []string {
	all := make([]*appsv1.ControllerRevision, 0, len(w.Snapshots))
	for _, s := range w.Snapshots {
		if !asked || w.runnable(s) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(b.Revision, a.Revision), cmp.Compare(a.Name, b.Name))
	})
	names := make([]string, 0, len(all))
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names
}

func (w *World) runnable(s *appsv1.ControllerRevision) bool {
	r, err := w.Read(s)
	return err == nil && (len(r.Config.Copies()) == 0 || target.Complete(s))
}
