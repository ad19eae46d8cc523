package observe

import (
	"strings"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// requestLimit bounds a request and a name in bytes: status echoes them, and an annotation may be very long.
const requestLimit = 512

// requestOf reads what a person asks for, and who it was.
func requestOf(c *siskinv1.Canary) (request, by string) {
	return bounded(c.Annotations[siskinv1.RequestAnnotation]), bounded(c.Annotations[siskinv1.RequestedByAnnotation])
}

// bounded makes one line of a text, of requestLimit bytes at most.
func bounded(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.ToValidUTF8(text[:min(len(text), requestLimit)], "")
}
