package server

import (
	"context"
	"fmt"

	"github.com/valetkey/valetkey/broker/ledger"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// ledgerServer is reached by whoever is known here, and for records by operators alone: the table of calls says which.
type ledgerServer struct {
	valetkeyv1.UnimplementedLedgerServiceServer
	Services
	key string
}

func (s *ledgerServer) GetLedgerKey(context.Context, *valetkeyv1.GetLedgerKeyRequest) (*valetkeyv1.GetLedgerKeyResponse, error) {
	if s.key == "" {
		return nil, fmt.Errorf("%w: this broker names no ledger key", ledger.ErrNoRecord)
	}
	return &valetkeyv1.GetLedgerKeyResponse{VerifierKey: s.key}, nil
}

func (s *ledgerServer) GetCheckpoint(ctx context.Context, _ *valetkeyv1.GetCheckpointRequest) (*valetkeyv1.GetCheckpointResponse, error) {
	checkpoint, err := s.Lookup.Checkpoint(ctx, someoneOf(ctx))
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.GetCheckpointResponse{Checkpoint: string(checkpoint)}, nil
}

func (s *ledgerServer) GetConsistencyProof(ctx context.Context, r *valetkeyv1.GetConsistencyProofRequest) (*valetkeyv1.GetConsistencyProofResponse, error) {
	proof, checkpoint, err := s.Lookup.Growth(ctx, someoneOf(ctx), r.GetOldSize(), r.GetNewSize())
	if err != nil {
		return nil, err
	}
	out := &valetkeyv1.GetConsistencyProofResponse{Checkpoint: string(checkpoint)}
	for _, h := range proof {
		out.Proof = append(out.Proof, h[:])
	}
	return out, nil
}

func (s *ledgerServer) GetRecord(ctx context.Context, r *valetkeyv1.GetRecordRequest) (*valetkeyv1.GetRecordResponse, error) {
	rec, err := s.Lookup.Record(ctx, operatorOf(ctx), r.GetIndex())
	if err != nil {
		return nil, err
	}
	return &valetkeyv1.GetRecordResponse{Receipt: receiptOut(rec)}, nil
}
