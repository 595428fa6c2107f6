package serve

import "github.com/valetkey/valetkey/broker/brokertest/clienttest"

var must, ask, discard = clienttest.Must, clienttest.Ask, clienttest.Discard
