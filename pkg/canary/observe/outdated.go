package observe

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/report"
)

// outdated tells that the endpoints of the canary's Service are not those of its pods as they are now: data planes would
// send the first requests to pods of the revision before, which are going and may listen elsewhere. That is looked at
// while the canary has no traffic and is about to get some.
func (o *Observer) outdated(ctx context.Context, w *World, role string, slice *discoveryv1.EndpointSlice) bool {
	z := report.State(&w.Canary.Status)
	svc := w.Live[w.CanaryService]
	if role != siskinv1.RoleCanary || svc == nil || z.Phase.Idle() || z.Split.Reaches() {
		return false
	}
	return elsewhere(svc, slice) || o.anyGoes(ctx, slice)
}

// elsewhere tells that a slice has another number for a port than its Service has by now.
func elsewhere(svc *corev1.Service, slice *discoveryv1.EndpointSlice) bool {
	for _, p := range svc.Spec.Ports {
		want := p.TargetPort
		if want.Type == intstr.String {
			continue // each pod has its own
		}
		number := want.IntVal
		if number == 0 {
			number = p.Port
		}
		for _, has := range slice.Ports {
			if ptr.Deref(has.Name, "") == p.Name && ptr.Deref(has.Port, number) != number {
				return true
			}
		}
	}
	return false
}

// anyGoes tells that an endpoint counts as ready whose pod is being deleted. Its slice is about to change.
func (o *Observer) anyGoes(ctx context.Context, slice *discoveryv1.EndpointSlice) bool {
	for _, e := range slice.Endpoints {
		if !Ready(e) || e.TargetRef == nil || e.TargetRef.Kind != "Pod" {
			continue
		}
		pod := &metav1.PartialObjectMetadata{}
		pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
		key := types.NamespacedName{Namespace: slice.Namespace, Name: e.TargetRef.Name}
		err := o.Client.Get(ctx, key, pod, client.UnsafeDisableDeepCopy)
		if err == nil && pod.DeletionTimestamp != nil { // one that the cache does not know is told by the next slice
			return true
		}
	}
	return false
}

// lately remembers when something was last so. It is lost with the process, which then began later than that. The zero
// value is ready for use.
type lately struct {
	mu  sync.Mutex
	all map[types.UID]time.Time
}

// so notes what is so now, and reports whether it is, or was within d.
func (m *lately) so(uid types.UID, is bool, d time.Duration, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if is {
		if m.all == nil {
			m.all = map[types.UID]time.Time{}
		}
		m.all[uid] = now
		return true
	}
	at, known := m.all[uid]
	if known && now.Before(at.Add(d)) {
		return true
	}
	delete(m.all, uid)
	return false
}

func (m *lately) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, uid)
}
