//! The guard in front of the storage engine's recovery.
use crate::store::StoreError;
use std::path::Path;
pub(crate) struct Scan;
impl Scan {
    pub(crate) fn is_cut(&self) -> bool {
        false
    }
    pub(crate) fn compare(&self, _commit: u64) -> Result<(), StoreError> {
        Ok(())
    }
}
pub(crate) fn check(_path: &Path, _guard: &[u8; 16]) -> Result<Scan, StoreError> {
    Ok(Scan)
}
/// Reads the store's secret mark, or draws it.
pub(crate) fn guard_secret(data: &Path) -> Result<[u8; 16], StoreError> {
    let path = data.join("guard");
    match std::fs::read(&path) {
        Ok(bytes) => bytes.try_into().map_err(|_| StoreError::Foreign),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = crate::random();
            let draft = data.join("guard.new");
            let mut file = std::fs::File::create(&draft)?;
            std::io::Write::write_all(&mut file, &secret)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            std::fs::File::open(data)?.sync_all()?;
            Ok(secret)
        }
        Err(error) => Err(error.into()),
    }
}
