package istio

import (
	"bytes"
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"
	networking "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// trafficPolicy reads spec.service.trafficPolicy; nil if there is none. What Istio does not know is refused: it would be dropped
// without a word.
func trafficPolicy(in router.Intent) (*networking.TrafficPolicy, error) {
	const field = "spec.service.trafficPolicy"
	given := in.Owner.Spec.Service.TrafficPolicy
	if given == nil || len(bytes.TrimSpace(given.Raw)) == 0 || string(given.Raw) == "null" {
		return nil, nil //nolint:nilnil // no policy is wanted
	}
	if !json.Valid(given.Raw) {
		return nil, invalid(field, "it is no JSON: correct it")
	}
	out := &networking.TrafficPolicy{}
	if err := protojson.Unmarshal(given.Raw, out); err != nil {
		return nil, invalid(field, "it is no trafficPolicy of Istio's DestinationRule (API 1.31): %v", err)
	}
	return out, nil
}

// destinationRules are those that a Canary with a trafficPolicy has, one for each version, named as its Service.
func destinationRules(in router.Intent) ([]*istiov1.DestinationRule, error) {
	policy, err := trafficPolicy(in)
	if err != nil || policy == nil {
		return nil, err
	}
	svc := in.Owner.Spec.Service
	primary := destinationRule(owned.Meta(in.Owner, in.Primary, svc.Primary), policy)
	canary := destinationRule(owned.Meta(in.Owner, in.Canary, svc.Canary), policy)
	return []*istiov1.DestinationRule{primary, canary}, nil
}

func destinationRule(meta metav1.ObjectMeta, policy *networking.TrafficPolicy) *istiov1.DestinationRule {
	out := &istiov1.DestinationRule{ObjectMeta: meta}
	out.Spec.Host, out.Spec.TrafficPolicy = meta.Name, policy.DeepCopy()
	return out
}
