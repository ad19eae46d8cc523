package service

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// generate builds a Service that Siskin owns. With role "" it selects the pods of every role. How connections are spread is
// taken over from the user's apex, if there is one: a client that is moved from one Service to the other notices nothing.
func generate(canary *siskinv1.Canary, service string, extra *siskinv1.Metadata, selector map[string]string, role string,
	ports []corev1.ServicePort, like *corev1.Service,
) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: owned.Meta(canary, service, extra),
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: withRole(selector, role),
			Ports:    ports,
		},
	}
	if like != nil {
		svc.Spec.SessionAffinity = like.Spec.SessionAffinity
		svc.Spec.SessionAffinityConfig = like.Spec.SessionAffinityConfig.DeepCopy()
		svc.Spec.TrafficDistribution = like.Spec.TrafficDistribution
		svc.Spec.InternalTrafficPolicy = like.Spec.InternalTrafficPolicy
		svc.Spec.PublishNotReadyAddresses = like.Spec.PublishNotReadyAddresses
	}
	return svc
}

// withRole returns selector with the role's label; the selector itself is not changed. "" adds none.
func withRole(selector map[string]string, role string) map[string]string {
	out := withoutRole(selector)
	if role != "" {
		out[siskinv1.RoleLabel] = role
	}
	return out
}

// withoutRole returns a copy of selector without the role's label, never nil.
func withoutRole(selector map[string]string) map[string]string {
	out := make(map[string]string, len(selector)+1)
	maps.Copy(out, selector)
	delete(out, siskinv1.RoleLabel)
	return out
}

// covers tells whether live says all that want says. The selector is an atomic map and has to be equal; in all else, what
// others or the API server added does not count.
func covers(live, want *corev1.Service) bool {
	l, w := live.Spec, want.Spec
	return owned.MetaCovers(live, want) &&
		l.Type == w.Type &&
		maps.Equal(l.Selector, w.Selector) &&
		coversPorts(l.Ports, w.Ports) &&
		(w.SessionAffinity == "" || l.SessionAffinity == w.SessionAffinity) &&
		(w.SessionAffinityConfig == nil || equality.Semantic.DeepEqual(l.SessionAffinityConfig, w.SessionAffinityConfig)) &&
		(w.TrafficDistribution == nil || equality.Semantic.DeepEqual(l.TrafficDistribution, w.TrafficDistribution)) &&
		(w.InternalTrafficPolicy == nil || equality.Semantic.DeepEqual(l.InternalTrafficPolicy, w.InternalTrafficPolicy)) &&
		(!w.PublishNotReadyAddresses || l.PublishNotReadyAddresses)
}

func coversPorts(live, want []corev1.ServicePort) bool {
	for _, w := range want {
		if !slices.ContainsFunc(live, func(l corev1.ServicePort) bool {
			return l.Port == w.Port && l.Protocol == w.Protocol && l.Name == w.Name && l.TargetPort == w.TargetPort &&
				(w.AppProtocol == nil || equality.Semantic.DeepEqual(l.AppProtocol, w.AppProtocol))
		}) {
			return false
		}
	}
	return true
}
