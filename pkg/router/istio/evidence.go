package istio

import (
	"fmt"
	"strings"
	"time"

	analysis "istio.io/api/analysis/v1alpha1"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Settle is how long Istio is given to take what was written. istiod gathers changes until there was none for 100 ms, and pushes them
// then; it tells nobody when all proxies have them.
const Settle = 2 * time.Second

// settled completes the observation of a VirtualService that says what is wanted. Istio's status says little: its analysis, which is off
// by default, tells what it holds to be wrong, and nothing of what is right; older versions told by a condition whether all proxies have it.
// So what was written counts as accepted when that condition says so for this generation or, without it, when nothing was said
// against it for a while.
func (r *Router) settled(obs router.Observation, live *istiov1.VirtualService) router.Observation {
	obs.Evidence = router.EvidenceWritten
	if code, why := refusal(live); code != "" {
		obs.Reason, obs.Message = code, why
		return obs
	}
	switch told, status, message := reconciled(live); {
	case told && status:
		obs.Evidence = router.EvidenceAccepted
	case told:
		obs.Reason, obs.Message = ReasonNotReconciled, fmt.Sprintf("Istio has not brought VirtualService %s to all proxies: %s", live.Name, message)
	default:
		if obs.Again = r.settling(live); obs.Again > 0 {
			obs.Reason, obs.Message = ReasonSettling, fmt.Sprintf("VirtualService %s was written just now, and Istio is given %s to take it.", live.Name, Settle)
			return obs
		}
		obs.Evidence = router.EvidenceAccepted
	}
	return obs
}

// settling is how long Istio is still given.
func (r *Router) settling(live *istiov1.VirtualService) time.Duration {
	at, err := time.Parse(time.RFC3339Nano, live.Annotations[siskinv1.WrittenAtAnnotation])
	if err != nil { // nobody knows when
		return 0
	}
	return min(at.Add(Settle).Sub(r.clock.Now()), Settle)
}

// now is the value of the annotation that tells when a VirtualService was written.
func (r *Router) now() string { return r.clock.Now().UTC().Format(time.RFC3339Nano) }

// refusal is what Istio's analysis holds to be an error in this generation.
func refusal(live *istiov1.VirtualService) (code, why string) {
	status := &live.Status
	if status.ObservedGeneration != 0 && status.ObservedGeneration != live.Generation {
		return "", ""
	}
	for _, m := range status.ValidationMessages {
		if m.GetLevel() == analysis.AnalysisMessageBase_ERROR {
			kind := m.GetType()
			return kind.GetCode(), fmt.Sprintf("Istio's analysis finds an error in VirtualService %s: %s %s; correct it, see %s",
				live.Name, kind.GetCode(), kind.GetName(), m.GetDocumentationUrl())
		}
	}
	return "", ""
}

// reconciled is what the condition says, if it is about this generation. One that is not may be of a version of Istio that is gone.
func reconciled(live *istiov1.VirtualService) (told, status bool, message string) {
	for _, c := range live.Status.Conditions {
		generation := c.GetObservedGeneration()
		if generation == 0 {
			generation = live.Status.ObservedGeneration
		}
		if c.GetType() == "Reconciled" && generation == live.Generation {
			return true, strings.EqualFold(c.GetStatus(), "True"), c.GetMessage()
		}
	}
	return false, false, ""
}
