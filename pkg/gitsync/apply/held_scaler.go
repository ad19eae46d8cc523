package apply

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// respectScaler keeps what Siskin's Canary controller has changed in an autoscaler that it points at the primary, where git asks for
// nothing but what is noted as its wish already: the limits and, of a ScaledObject, the queries. What is new in git is applied; the
// Canary controller reads it and acts on it.
func respectScaler(desired, live *unstructured.Unstructured) error {
	notes := live.GetAnnotations()
	if _, pointed := notes[siskinv1.ScalesAnnotation]; !pointed {
		return nil
	}
	least, most := "minReplicas", "maxReplicas"
	if desired.GetKind() == "ScaledObject" {
		least, most = "minReplicaCount", "maxReplicaCount"
	}
	wish, held := strings.Split(notes[siskinv1.LimitsAnnotation], "-"), strings.Split(notes[siskinv1.LimitsHeldAnnotation], "-")
	for i, field := range []string{least, most} {
		wanted, inGit, err := unstructured.NestedInt64(desired.Object, "spec", field)
		if err != nil {
			return fmt.Errorf("reading spec.%s: %w", field, err)
		}
		if !inGit || len(wish) != 2 || len(held) != 2 || strconv.FormatInt(wanted, 10) != wish[i] {
			continue
		}
		if n, err := strconv.ParseInt(held[i], 10, 64); err == nil {
			if err := set(desired, n, "spec", field); err != nil {
				return err
			}
		}
	}
	return respectKEDA(desired, notes[siskinv1.AutoscalerAnnotation])
}

// respectKEDA keeps the queries of the primary, and an idleReplicaCount away that was taken away for a rollout.
func respectKEDA(desired *unstructured.Unstructured, note string) error {
	var noted struct {
		Idle    *int64                         `json:"idle"`
		Queries []*struct{ User, Held string } `json:"queries"`
	}
	if err := json.Unmarshal([]byte(note), &noted); err != nil {
		return nil //nolint:nilerr // there is none, or nobody knows what it says
	}
	if idle, ok, _ := unstructured.NestedInt64(desired.Object, "spec", "idleReplicaCount"); ok && noted.Idle != nil && *noted.Idle == idle {
		unstructured.RemoveNestedField(desired.Object, "spec", "idleReplicaCount")
	}
	triggers, ok, err := unstructured.NestedSlice(desired.Object, "spec", "triggers")
	if err != nil || !ok {
		return nil //nolint:nilerr // the API server tells what is wrong with it
	}
	for _, t := range triggers {
		trigger, _ := t.(map[string]any)
		query, has, _ := unstructured.NestedString(trigger, "metadata", "query")
		if !has {
			continue
		}
		for _, q := range noted.Queries {
			if q == nil || q.User != query {
				continue
			}
			if err := unstructured.SetNestedField(trigger, q.Held, "metadata", "query"); err != nil {
				return fmt.Errorf("keeping a query: %w", err)
			}
			break
		}
	}
	return set(desired, triggers, "spec", "triggers")
}
