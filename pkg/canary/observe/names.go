package observe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/scaler"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

const (
	// revisionHash is how many characters Kubernetes adds to the name of a StatefulSet for the label
	// controller-revision-hash of its pods.
	revisionHash = len("-0123456789")
	// suffix is what Siskin adds to names: the longer of the two.
	suffix = len("-" + siskinv1.RolePrimary)
)

// names refuses what the API server would refuse as a name or as a label of what Siskin makes, before any of it is
// made. What has been made already has its names.
func names(c *siskinv1.Canary) error {
	if c.Status.Stable != nil {
		return nil
	}
	ref := c.Spec.TargetRef
	const label = validation.LabelValueMaxLength
	if n := len(c.Name); n > label {
		return &InvalidSpecError{"metadata.name", fmt.Sprintf(
			"the Canary's name has %d characters, but it is a label of all that Siskin makes, which can have %d: create it anew under a shorter name", n, label)}
	}
	if most := label - revisionHash - suffix; ref.Kind == target.StatefulSet && len(ref.Name) > most {
		return &InvalidSpecError{"spec.targetRef.name", fmt.Sprintf(
			"StatefulSet %s has %d characters, so that Kubernetes could not make the pods of %s: give it a name of at most %d, which can have one clone more",
			ref.Name, len(ref.Name), target.CloneName(ref.Name, siskinv1.RolePrimary), most)}
	}
	for _, check := range []func(*siskinv1.Canary) error{serviceNames, scalerNames, serviceMetadata} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

// serviceNames checks the three Services, after which the route is named too.
func serviceNames(c *siskinv1.Canary) error {
	apex := service.ApexName(c)
	most := validation.DNS1035LabelMaxLength - suffix
	field, wayOut := "spec.service.name", fmt.Sprintf("set spec.service.name to another one of at most %d characters", most)
	if c.Spec.TargetRef.Kind == target.Service {
		field, wayOut = "spec.targetRef.name", fmt.Sprintf("give the Service a name of at most %d characters", most)
	}
	switch {
	case len(apex) > most:
		return &InvalidSpecError{field, fmt.Sprintf("Service %s-primary would have %d characters, but Services can have %d: %s",
			apex, len(apex)+suffix, validation.DNS1035LabelMaxLength, wayOut)}
	case len(validation.IsDNS1035Label(apex)) > 0:
		return &InvalidSpecError{field, fmt.Sprintf(
			"%s is no name for a Service, which has lower case letters, digits and -, begins with a letter and does not end with -: %s", apex, wayOut)}
	}
	return nil
}

// scalerNames checks the canary's own autoscaler. KEDA makes a label of the name of a ScaledObject.
func scalerNames(c *siskinv1.Canary) error {
	ref := c.Spec.AutoscalerRef
	if ref == nil || ref.Canary == nil {
		return nil
	}
	most := validation.DNS1123SubdomainMaxLength
	if ref.Kind == scaler.KindScaledObject {
		most = validation.LabelValueMaxLength
	}
	if name := scaler.CopyName(ref.Name); len(name) > most {
		return &InvalidSpecError{"spec.autoscalerRef.canary", fmt.Sprintf("%s %s would have %d characters of %d: leave it out, or give %s a shorter name",
			ref.Kind, name, len(name), most, ref.Name)}
	}
	return nil
}

// serviceMetadata checks the labels and annotations that the user wants the Services to have.
func serviceMetadata(c *siskinv1.Canary) error {
	svc := c.Spec.Service
	for _, m := range []struct {
		field string
		*siskinv1.Metadata
	}{{"apex", svc.Apex}, {"primary", svc.Primary}, {"canary", svc.Canary}} {
		if m.Metadata == nil {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(m.Labels)) {
			if wrong := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(m.Labels[key])...); len(wrong) > 0 {
				return invalidMetadata(m.field+".labels", key, wrong)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(m.Annotations)) {
			if wrong := validation.IsQualifiedName(strings.ToLower(key)); len(wrong) > 0 {
				return invalidMetadata(m.field+".annotations", key, wrong)
			}
		}
	}
	return nil
}

func invalidMetadata(field, key string, wrong []string) error {
	return &InvalidSpecError{"spec.service." + field, fmt.Sprintf("%q cannot be written to a Service (%s): correct it", key, wrong[0])}
}
